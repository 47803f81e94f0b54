"""Every promise of docs/guarantees.md names tests that exist."""

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_PAGE = (_ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
_NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", _PAGE)))


@pytest.mark.parametrize(("path", "name"), _NAMED, ids=[name or path for path, name in _NAMED])
def test_it_is_there(path: str, name: str) -> None:
    text = (_ROOT / path).read_text(encoding="utf-8")
    assert f"def {name}(" in text if name else "def test_" in text


def test_each_promise_names_one() -> None:
    rows = [row for row in _PAGE.splitlines() if row.startswith("| **")]
    assert len(rows) >= 10
    assert all("`tests/" in row for row in rows)
