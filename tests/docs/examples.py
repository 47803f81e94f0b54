"""Finds the examples of a Markdown file that are meant to be run: fenced blocks marked ``sh run`` or ``python run``."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"^(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
_LANGUAGES = ("sh", "python")


@dataclass(frozen=True, slots=True)
class Example:
    """One block: where it stands, what runs it, and its text."""

    file: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        """Where it stands, as editors understand it."""
        return f"{self.file}:{self.line}"

    def moved(self, addresses: dict[str, str]) -> str:
        """Give its text with each documented ``host:port`` replaced by the one in use."""
        names = "|".join(re.escape(address) for address in addresses)
        return re.sub(rf"\b({names})(?!\d)", lambda found: addresses[found[1]], self.text)


def examples(file: str, text: str) -> Iterator[Example]:
    """Give the runnable blocks of *text* in order; ValueError when a block has no end."""
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        opened = _FENCE.match(line)
        if opened is None:
            continue
        body = []
        for _, inner in lines:
            if inner.startswith(opened["fence"]) and not inner.strip(opened["fence"][0]).strip():
                break
            body.append(inner)
        else:
            raise ValueError(f"{file}:{number}: a block has no end")
        language, _, mark = opened["info"].strip().partition(" ")
        if language in _LANGUAGES and mark == "run":
            yield Example(file, number, language, "\n".join(body) + "\n")
