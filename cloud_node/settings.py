"""Settings of a cloud node, read once by server.py and handed down."""

import socket
from typing import Self

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104


class CloudSettings(BaseSettings):
    """Where a node listens, how it stays known, and what it bears."""

    model_config = SettingsConfigDict(
        env_prefix="CLOUDPUSH_", hide_input_in_errors=True, frozen=True, populate_by_name=True
    )

    index: int = Field(default=0, ge=0, validation_alias="CLOUDPUSH_NODE_INDEX", description="Number of this node.")
    node_host: str = Field(default="127.0.0.1", description="Address that Socket.IO and gRPC listen on.")
    socketio_port: int | None = Field(default=None, description="Socket.IO port; unset: 9000 + index.")
    grpc_port: int | None = Field(default=None, description="gRPC port; unset: 9500 + index.")
    advertise_host: str | None = Field(default=None, description="Host by which workers and browsers reach this node.")
    advertise_grpc_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="gRPC port by which workers reach this node; unset: the one it listens on.",
    )
    public_url: str | None = Field(default=None, description="Socket.IO URL for browsers, where a proxy stands before.")
    allowed_origins: list[str] = Field(
        default=[], description='JSON list of web origins that may connect; empty: those on loopback; ["*"]: any.'
    )
    client_jwt_secret: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="HS256 secret of client tokens. Unset: anyone may connect, on loopback.",
    )
    grpc_token: SecretStr | None = Field(
        default=None, min_length=16, description="Shared secret that workers show to nodes. Unset: loopback only."
    )
    broker_url: SecretStr = Field(
        default=SecretStr("amqp://guest:guest@127.0.0.1:5672//"),
        validation_alias=AliasChoices("CLOUDPUSH_BROKER_URL", "RABBITMQ_URL"),
        description="The broker that workers consume from; a node sends its data-path probe there.",
    )
    lease_ttl_s: float = Field(default=10.0, gt=0, description="A crashed node's keys are offline after this long.")
    renew_every_s: float = Field(default=3.0, gt=0, description="How often a node renews its lease.")
    probe_every_s: float = Field(default=5.0, gt=0, description="How often a node pushes itself a probe.")
    drain_s: float = Field(default=10.0, ge=0, description="Over how long a stopping node spreads its reconnects.")
    max_sessions: int = Field(default=50_000, ge=1, description="Sessions of one node; more are refused.")
    max_rooms: int = Field(default=100, ge=0, description="Rooms of one session.")
    max_waiting_bytes: int = Field(
        default=1_048_576, ge=1, description="Bytes waiting for one session that does not read before it is closed."
    )
    inbox_tail_bytes: int = Field(
        default=16_777_216, ge=0, description="Durable messages kept in memory for sessions that come back soon."
    )
    inbox_check_s: float = Field(
        default=30.0,
        gt=0,
        description="How often the inboxes of this node's keys are looked at, whatever workers sent.",
    )
    max_paced: int = Field(default=32, ge=1, description="Broadcasts with a speed under way; more wait at the worker.")
    bridge_capacity: int = Field(
        default=1_000, ge=1, description="gRPC calls waiting for the hub before new ones fail."
    )
    grpc_threads: int = Field(
        default=16, ge=1, description="Native threads that serve gRPC calls; each batch stream adds its own."
    )
    ping_interval_s: float = Field(default=25.0, gt=0, description="Engine.IO pingInterval.")
    ping_timeout_s: float = Field(default=20.0, gt=0, description="Engine.IO pingTimeout.")
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @model_validator(mode="after")
    def _locked_or_loopback(self) -> Self:
        if self.node_host not in LOOPBACK:
            missing = [
                name
                for name, value in (
                    ("CLOUDPUSH_CLIENT_JWT_SECRET", self.client_jwt_secret),
                    ("CLOUDPUSH_GRPC_TOKEN", self.grpc_token),
                )
                if value is None
            ]
            if missing:
                raise ValueError(
                    f"without secrets a node listens on loopback only: to listen on {self.node_host}, "
                    f"set {' and '.join(missing)}"
                )
        if self.node_host in ANY_ADDRESS and self.advertise_host is None:
            raise ValueError(
                f"a node that listens on {self.node_host} must say by which address it is reached: "
                "set CLOUDPUSH_ADVERTISE_HOST"
            )
        if self.renew_every_s * 2 > self.lease_ttl_s:
            raise ValueError("renew_every_s must be at most half of lease_ttl_s, or one late renewal ends the lease")
        return self

    @property
    def listen_socketio(self) -> tuple[str, int]:
        """Address of Socket.IO, health and metrics."""
        return self.node_host, 9000 + self.index if self.socketio_port is None else self.socketio_port

    @property
    def listen_grpc(self) -> tuple[str, int]:
        """Address of gRPC."""
        return self.node_host, 9500 + self.index if self.grpc_port is None else self.grpc_port

    @property
    def grpc_address(self) -> str:
        """``host:port`` that workers dial; first part of the incarnation's name."""
        return f"{self._reachable_host}:{self.advertise_grpc_port or self.listen_grpc[1]}"

    @property
    def url(self) -> str:
        """URL that browsers connect to."""
        return self.public_url or f"http://{self._reachable_host}:{self.listen_socketio[1]}"

    @property
    def address_family(self) -> socket.AddressFamily:
        """IPv4 or IPv6, by the form of the address to listen on."""
        return socket.AF_INET6 if ":" in self.node_host else socket.AF_INET

    @property
    def _reachable_host(self) -> str:
        host = self.advertise_host or self.node_host
        return f"[{host}]" if ":" in host else host  # RFC 3986, section 3.2.2
