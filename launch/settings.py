"""Settings of the starter, and where each part will listen."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).parents[1]
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Listener:
    """One port that a part will take: which, for what, and the setting that moves it."""

    part: str
    port: int
    setting: str

    @property
    def url(self) -> str:
        """Where it is asked for its health."""
        return f"http://{_LOOPBACK}:{self.port}"

    def is_free(self) -> bool:
        """Whether the port can be taken now."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_LOOPBACK, self.port))
            except OSError:
                return False
        return True


class LaunchSettings(BaseSettings):
    """How much to start, and on what."""

    model_config = SettingsConfigDict(
        env_prefix="CLOUDPUSH_",
        hide_input_in_errors=True,
        frozen=True,
        populate_by_name=True,
        env_ignore_empty=True,
    )

    nodes: int = Field(
        default=2, ge=1, le=64, validation_alias=AliasChoices("CLOUDPUSH_NODES", "NODES"), description="Cloud nodes."
    )
    broker_url: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("CLOUDPUSH_BROKER_URL", "RABBITMQ_URL"),
        description="RabbitMQ to use. Unset: the embedded Valkey.",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("CLOUDPUSH_REDIS_URL", "REDIS_URL"),
        description="Redis or Valkey to use. Unset: the embedded Valkey.",
    )
    data_dir: Path = Field(default=Path(".cloudpush"), description="Where the embedded Valkey keeps its data.")
    procfile: Path = Field(default=Path("Procfile"), description="The processes to start; a path from this project.")
    web_port: int = Field(default=8000, ge=1, le=65535, description="Port of REST and the page.")
    socketio_port: int = Field(default=9000, ge=1, le=65535, description="Socket.IO port of the first node.")
    grpc_port: int = Field(default=9500, ge=1, le=65535, description="gRPC port of the first node.")
    worker_port: int = Field(default=9400, ge=1, le=65535, description="Port of the worker's health and metrics.")
    flower_port: int = Field(default=5555, ge=1, le=65535, description="Port of Flower.")
    drain_s: float = Field(default=2.0, ge=0, le=4, description="How long stopping nodes say goodbye to browsers.")
    ready_s: float = Field(default=180.0, gt=0, description="Longest wait until everything is ready.")
    api_key: SecretStr | None = Field(
        default=None, min_length=16, description="See the web tier. Unset: anonymous callers."
    )
    client_jwt_secret: SecretStr | None = Field(
        default=None, min_length=32, description="See the cloud tier. Unset: anonymous browsers."
    )

    @property
    def needs_valkey(self) -> bool:
        """Whether the broker or the store is left to us."""
        return self.broker_url is None or self.redis_url is None

    @property
    def web(self) -> Listener:
        """REST and the page."""
        return Listener("web.1", self.web_port, "CLOUDPUSH_WEB_PORT")

    @property
    def worker(self) -> Listener:
        """The worker's health and metrics."""
        return Listener("worker.1", self.worker_port, "CLOUDPUSH_WORKER_PORT")

    @property
    def flower(self) -> Listener:
        """The task monitor."""
        return Listener("flower.1", self.flower_port, "CLOUDPUSH_FLOWER_PORT")

    @property
    def cloud(self) -> list[Listener]:
        """The Socket.IO side of each node."""
        return [
            Listener(f"cloud.{i + 1}", self.socketio_port + i, "CLOUDPUSH_SOCKETIO_PORT") for i in range(self.nodes)
        ]

    def listeners(self) -> Iterator[Listener]:
        """Every port that a start takes."""
        yield from (self.web, self.worker, self.flower, *self.cloud)
        yield from (Listener(f"cloud.{i + 1}", self.grpc_port + i, "CLOUDPUSH_GRPC_PORT") for i in range(self.nodes))
