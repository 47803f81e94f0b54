"""Settings of the logic tier, read once by app/wsgi.py and handed down."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class WebSettings(BaseSettings):
    """Where the REST interface listens, who may call it, and how much it takes."""

    model_config = SettingsConfigDict(env_prefix="CLOUDPUSH_", hide_input_in_errors=True, frozen=True)

    web_host: str = Field(default="127.0.0.1", description="Address to listen on. Without an API key: loopback only.")
    web_port: int = Field(default=8000, ge=0, le=65535, description="Port of REST, /metrics, /docs and the page.")
    web_threads: int = Field(default=32, ge=1, le=1024, description="Requests served at the same time.")
    api_key: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Callers show it as `Authorization: Bearer` or `X-API-Key`. Unset: everyone on loopback may call.",
    )
    confirm_deadline_s: float = Field(
        default=1.5, gt=0, le=1.9, description="Longest wait for the broker's confirm before a push gets 503."
    )
    max_waiting_pushes: int = Field(
        default=4096, ge=1, description="Pushes that may wait for the broker at a time; one more gets 503 at once."
    )
    shutdown_s: float = Field(default=5.0, gt=0, description="How long a stopping process waits for open requests.")
    max_body_bytes: int = Field(default=1_048_576, ge=1024, description="Largest request body; more gets 413.")
    max_batch_bytes: int = Field(
        default=8_388_608, ge=1024, description="The same for `/v1/pushes:batch`; each push in it: `MAX_BODY_BYTES`."
    )
    max_message_bytes: int = Field(default=65_536, ge=1, description="Largest `msg`, as encoded JSON.")
    max_targets: int = Field(default=1000, ge=1, description="Most keys, members and rooms of one push, in all.")
    default_ttl_s: int = Field(default=60, ge=1, le=86_400, description="Life of a push that names no `ttl_s`.")
    durable_ttl_s: int = Field(
        default=86_400, ge=1, le=604_800, description="Life of a durable push that names no `ttl_s`."
    )
    store_watch_s: float = Field(default=0.5, gt=0, description="How often the store is asked whether it is up.")
    backlog_watch_s: float = Field(default=0.5, gt=0, le=10, description="How often depth and age of queues are asked.")
    max_depth_high: int = Field(
        default=20_000,
        ge=1,
        description="Tasks, of one push to a hundred each, that may wait in the queue of priority high; past this or "
        "the age below, all pushes are refused: high with 503, the others with 429.",
    )
    max_depth_normal: int = Field(
        default=10_000, ge=1, description="The same for priority normal; then normal and bulk are refused."
    )
    max_depth_bulk: int = Field(default=2_000, ge=1, description="The same for priority bulk; then bulk is refused.")
    max_age_high_s: float = Field(
        default=45.0, gt=0, description="How long the oldest task may wait in the queue of priority high."
    )
    max_age_normal_s: float = Field(default=30.0, gt=0, description="The same for priority normal.")
    max_age_bulk_s: float = Field(default=10.0, gt=0, description="The same for priority bulk.")
    probe_fresh_s: float = Field(
        default=10.0,
        gt=0,
        description="A node whose last push to itself is older gets no new browsers, unless that is so of all.",
    )
    flower_url: str = Field(default="http://127.0.0.1:5555", description="Where /flower leads: the task monitor.")
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")
