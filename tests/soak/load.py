"""How much a soak pushes, and to whom: sessions' own keys, members, rooms; some with two tabs, some without our SDK."""

from dataclasses import dataclass, field

PER_SECOND = 200.0
_PLAIN, _MEMBERS, _ROOMS = 170, 15, 15
_TWICE = 10
_VANILLA = 10


@dataclass(frozen=True)
class Cast:
    """Who answers to which key, by the number of the tab; those of *vanilla* keep no cursor of their own."""

    keys: tuple[str, ...]
    tabs: dict[int, str] = field(default_factory=dict)
    vanilla: tuple[int, ...] = ()


def make_cast(prefix: str = "soak", *, all_plain: bool = False) -> Cast:
    """Name 200 keys, and the tabs that answer to them; *all_plain* where the server knows neither members nor rooms."""
    plain = [f"{prefix}-{number}" for number in range(_PLAIN)]
    members = [f"mid:{prefix}-{number}" for number in range(_MEMBERS)]
    rooms = [f"room:{prefix}-{number}" for number in range(_ROOMS)]
    keys = [*plain, *(f"{prefix}-{number}" for number in range(_PLAIN, 200))] if all_plain else plain + members + rooms
    tabs = dict(enumerate([*keys, *keys[:_TWICE], *keys[_PLAIN + _MEMBERS :]]))
    vanilla = () if all_plain else tuple(range(_PLAIN - _VANILLA, _PLAIN))
    return Cast(tuple(keys), tabs, vanilla)


def target_of(key: str) -> dict[str, list[str]]:
    """Give the part of a push that says whom it is for."""
    kind, _, name = key.partition(":")
    return {"mids": [name]} if kind == "mid" else {"rooms": [name]} if kind == "room" else {"keys": [key]}
