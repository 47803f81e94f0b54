"""The grammar of keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto import keys

_ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=300)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("alice-phone", None),
        ("用户:42", None),
        ("a b", None),
        ("x" * 256, None),
        ("", "must not be empty"),
        ("x" * 257, "must be at most 256 bytes, not 257"),
        ("é" * 129, "must be at most 256 bytes, not 258"),
        ("a\nb", "must not hold control characters"),
        ("a\x00", "must not hold control characters"),
        ("a\x7f", "must not hold control characters"),
        ("a\x85b", "must not hold control characters"),
        (" a", "must not begin or end with white space"),
        ("a\u3000", "must not begin or end with white space"),
        ("a\ud800", "must be valid Unicode: it holds half a surrogate pair"),
    ],
)
def test_what_keeps_a_text_from_being_a_key(text: str, expected: str | None) -> None:
    assert keys.flaw(text) == expected
    assert keys.plain_key_flaw(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", "'all' is reserved: to reach every session, say all: true"),
        ("mid:42", "the prefix 'mid:' is reserved: use mids"),
        ("room:live://1000", "the prefix 'room:' is reserved: use rooms"),
        ("probe:127.0.0.1:9500", "the prefix 'probe:' is reserved"),
        ("mid:", "the prefix 'mid:' is reserved: use mids"),
        ("All", None),
        ("all ", "must not begin or end with white space"),
        ("midnight", None),
        ("xmid:42", None),
    ],
)
def test_reserved_forms_are_no_plain_keys(text: str, expected: str | None) -> None:
    assert keys.plain_key_flaw(text) == expected


@given(_ANY_TEXT)
def test_a_member_that_passes_names_a_key_that_passes(mid: str) -> None:
    assert (keys.mid_flaw(mid) is None) == (bool(mid) and mid == mid.strip() and keys.flaw(keys.mid_key(mid)) is None)


@given(_ANY_TEXT)
def test_a_room_that_passes_names_a_key_that_passes_and_leads_back_to_it(room: str) -> None:
    if keys.room_flaw(room) is None:
        assert keys.flaw(keys.room_key(room)) is None
    assert keys.room_of(keys.room_key(room)) == room


@given(_ANY_TEXT)
def test_every_key_is_either_plain_or_reserved(text: str) -> None:
    if keys.is_plain(text):
        assert keys.room_of(text) is None
        assert keys.plain_key_flaw(text) == keys.flaw(text)
    else:
        assert keys.plain_key_flaw(text) is not None


@given(_ANY_TEXT)
def test_what_passes_survives_the_wire(text: str) -> None:
    if keys.flaw(text) is None:
        assert text.encode().decode() == text
        assert len(text.encode()) <= keys.MAX_KEY_BYTES
