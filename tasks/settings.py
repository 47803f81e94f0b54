"""Settings of the job tier, read once by celeryconfig.py and handed down."""

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class TaskSettings(BaseSettings):
    """Where the broker is, and how hard a worker tries."""

    model_config = SettingsConfigDict(
        env_prefix="CLOUDPUSH_", hide_input_in_errors=True, frozen=True, populate_by_name=True
    )

    broker_url: SecretStr = Field(
        default=SecretStr("amqp://guest:guest@127.0.0.1:5672//"),
        validation_alias=AliasChoices("CLOUDPUSH_BROKER_URL", "RABBITMQ_URL"),
        description="RabbitMQ as amqp:// or amqps:// URL; `make run` sets the embedded Valkey's redis+socket:// here.",
    )
    grpc_token: SecretStr | None = Field(
        default=None, min_length=16, description="Shared secret that workers show to nodes. Unset: loopback only."
    )
    worker_concurrency: int = Field(default=8, ge=1, le=256, description="Threads of one worker process.")
    worker_host: str = Field(default="127.0.0.1", description="Address of a worker's /metrics and /health.")
    worker_port: int = Field(default=9400, ge=0, le=65535, description="Port of a worker's /metrics and /health.")
    node_deadline_s: float = Field(default=2.0, gt=0, description="Longest wait for one gRPC answer of a node.")
    max_attempts: int = Field(default=8, ge=1, description="Dispatches of one push before it is dead-lettered.")
    reconcile_every_s: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="How often the leading worker looks for accepted pushes whose task is missing, and for scheduled "
        "ones that are due on the embedded broker.",
    )
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @property
    def on_rabbitmq(self) -> bool:
        """Tell RabbitMQ from the embedded broker, which has neither confirms nor exchanges of its own."""
        return self.broker_url.get_secret_value().startswith(("amqp://", "amqps://", "pyamqp://"))
