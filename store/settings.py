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
    store_namespace: str = Field(default="cloudpush", description="First part of every Redis key of ours.")
