"""docs/state_machine.md says what the table of transitions says, and no more."""

import re
from pathlib import Path

from store.receipts import TRANSITIONS, Owner, State
from store.states import _OVERALL

_PAGE = (Path(__file__).parents[3] / "docs" / "state_machine.md").read_text(encoding="utf-8")


def _rows(heading: str) -> list[list[str]]:
    section = _PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def _states(cell: str) -> list[State]:
    return [State(name) for name in re.findall(r"`(\w+)`", cell)]


def test_the_page_lists_each_transition_once_with_its_owner() -> None:
    listed = [
        ((before, to), Owner(owner))
        for froms, tos, owner, _ in _rows("Transitions")
        for to in _states(tos)
        for before in _states(froms)
    ]
    assert len(listed) == len(dict(listed)), "a transition is listed twice"
    assert dict(listed) == dict(TRANSITIONS)


def test_the_page_explains_each_state() -> None:
    assert [state for row in _rows("States of one key") for state in _states(row[0])] == list(State)


def test_the_pages_picture_shows_only_what_the_table_allows() -> None:
    arrows = re.findall(r"^    (\w+) --> (\w+)", _PAGE, re.MULTILINE)
    assert len(arrows) > len(State)
    assert {(State(before), State(to)) for before, to in arrows} <= set(TRANSITIONS)


def test_the_page_gives_the_order_by_which_a_whole_push_is_judged() -> None:
    (line,) = re.findall(r"^`scheduled` · .*$", _PAGE, re.MULTILINE)
    assert _states(line) == list(_OVERALL)
