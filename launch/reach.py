"""Who can reach what a start starts, as the tiers will read it.

Refuses to repeat the tiers' own checks beyond what a person should know before anything starts.
"""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class ReachSettings(BaseSettings):
    """Where the tiers listen, and the secret between two of them; a tier's own settings say what each means."""

    model_config = SettingsConfigDict(
        env_prefix="CLOUDPUSH_", hide_input_in_errors=True, frozen=True, env_ignore_empty=True
    )

    web_host: str = "127.0.0.1"
    node_host: str = "127.0.0.1"
    worker_host: str = "127.0.0.1"
    grpc_token: SecretStr | None = Field(default=None, min_length=16)

    def told(self) -> str:
        """Say whether all listens on loopback, or what listens where else."""
        hosts = {
            "REST and the page": ("CLOUDPUSH_WEB_HOST", self.web_host),
            "the nodes": ("CLOUDPUSH_NODE_HOST", self.node_host),
            "the worker's metrics": ("CLOUDPUSH_WORKER_HOST", self.worker_host),
        }
        beyond = [f"{part} on {host} ({name})" for part, (name, host) in hosts.items() if host not in _LOOPBACK]
        if beyond:
            return f"Others can reach {'; '.join(beyond)}."
        return "Everything listens on loopback only."
