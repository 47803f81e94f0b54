"""Says what is wrong with settings, a line a variable.  Refuses to show a value: it may be a secret."""

from collections.abc import Iterator

from pydantic import AliasChoices, ValidationError
from pydantic_settings import BaseSettings


def flaws(settings: type[BaseSettings]) -> Iterator[str]:
    """Name each environment variable that *settings* does not take, and why."""
    try:
        settings()
    except ValidationError as wrong:
        for error in wrong.errors(include_url=False, include_input=False):
            why = error["msg"]
            if error["type"] in ("too_short", "string_too_short"):
                why = f"must have at least {error['ctx']['min_length']} characters"
            yield f"{_variable(settings, str(error['loc'][0]))}: {why[0].lower()}{why[1:]}"


def _variable(settings: type[BaseSettings], where: str) -> str:
    for field in settings.model_fields.values():
        match field.validation_alias:
            case AliasChoices(choices=choices) if where in choices:
                return " or ".join(map(str, choices))
    return where if where.isupper() else f"{settings.model_config.get('env_prefix', '')}{where}".upper()
