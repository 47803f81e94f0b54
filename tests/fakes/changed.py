"""Tests that look into a library: whatever they fail of, they say which library changed."""

import functools
from collections.abc import Callable
from typing import Any

import pytest


def named(library: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Have a test fail with *library* in its message, also when what it looks at is gone and it raises."""

    def wrap(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            try:
                test(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - whatever it is, the library is named
                pytest.fail(f"{library}: {error!r}")

        return run

    return wrap
