"""Settings of the store, read once by an entry point and handed down."""

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class StoreSettings(BaseSettings):
    """Where the store is and how long to wait for it."""

    model_config = SettingsConfigDict(
        env_prefix="CLOUDPUSH_", hide_input_in_errors=True, frozen=True, populate_by_name=True
    )

    redis_url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        validation_alias=AliasChoices("CLOUDPUSH_REDIS_URL", "REDIS_URL"),
        description="Redis or Valkey 7, as redis://, rediss:// or unix:// URL; it may carry a password.",
    )
    store_timeout_s: float = Field(default=1.0, gt=0, description="Longest wait for one answer of the store.")
    settle_s: float = Field(
        default=10.0,
        ge=0,
        description="How long after the store came up empty its silence about a key is not believed: nodes are still "
        "registering. Longer than a node's lease renewal.",
    )
    inbox_max_messages: int = Field(
        default=1_000,
        ge=1,
        description="Durable messages kept for one key; the oldest make room, and sessions are told.",
    )
    inbox_max_messages_all: int = Field(default=200, ge=1, description="The same for the key `all`.")
    inbox_max_bytes: int = Field(default=4_194_304, ge=65_536, description="Bytes of messages kept for one key.")
    receipt_ttl_s: int = Field(
        default=86_400, ge=60, description="How long a receipt is kept after its push has expired."
    )
    store_namespace: str = Field(default="cloudpush", description="First part of every Redis key of ours.")
