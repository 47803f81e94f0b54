"""Writes docs/configuration.md from the settings classes; ``--check`` only says whether it is fresh.

Refuses to hold any text about a setting: that is in the classes.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from app.settings import WebSettings
from cloud_node.settings import CloudSettings
from launch.settings import LaunchSettings
from store.settings import StoreSettings
from tasks.settings import TaskSettings

_TARGET = Path(__file__).with_name("configuration.md")
_HEAD = """\
# Configuration

Settings are environment variables, read once when a process starts. This page is made from the settings classes
(`make docs-configuration`). A wrong value is refused at start, without being shown: `make run` names the variable,
a process started by itself the setting (the variable in lower case, without the prefix).

Lists are JSON: `CLOUDPUSH_ALLOWED_ORIGINS='["https://example.com"]'`. Secrets never appear in logs.
"""
_CLASSES: tuple[tuple[str, type[BaseSettings]], ...] = (
    ("Logic tier (`python -m app.wsgi`)", WebSettings),
    ("Job tier (`celery -A tasks worker`), and every process that loads `celeryconfig.py`", TaskSettings),
    ("Cloud node (`python -m cloud_node.server`)", CloudSettings),
    ("Store (all tiers)", StoreSettings),
    ("`make run`", LaunchSettings),
)


def page() -> str:
    """Give the whole page."""
    return "\n".join([_HEAD, *(line for title, settings in _CLASSES for line in _section(title, settings))])


def _section(title: str, settings: type[BaseSettings]) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| variable | default | meaning |\n|---|---|---|"
    prefix = settings.model_config.get("env_prefix", "")
    for name, field in settings.model_fields.items():
        yield f"| {_variables(prefix, name, field)} | {_default(field)} | {field.description or ''} |"
    yield ""


def _variables(prefix: str, name: str, field: FieldInfo) -> str:
    match field.validation_alias:
        case AliasChoices(choices=choices):
            names = [str(choice) for choice in choices]
        case str(alias):
            names = [alias]
        case _:
            names = [f"{prefix}{name}".upper()]
    return " or ".join(f"`{variable}`" for variable in names)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return "unset"
    return f"`{value.get_secret_value() if isinstance(value, SecretStr) else value}`"


def main() -> int:
    """Write the page, or compare; gives the exit code."""
    if "--check" not in sys.argv:
        _TARGET.write_text(page(), encoding="utf-8")
    elif not _TARGET.exists() or _TARGET.read_text(encoding="utf-8") != page():
        print("docs/configuration.md is stale: make docs-configuration", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
