"""Push ids are ULIDs."""

from hypothesis import given
from hypothesis import strategies as st

from proto.message import new_push_id

_MS = st.integers(0, 2**48 - 1)
_RANDOM = st.binary(min_size=10, max_size=10)


@given(_MS, _RANDOM, _MS, _RANDOM)
def test_ids_sort_as_their_times_do(ms: int, randomness: bytes, later_ms: int, other: bytes) -> None:
    first, second = new_push_id(ms, randomness), new_push_id(later_ms, other)
    assert (first < second) == ((ms, randomness) < (later_ms, other))
    assert (first == second) == ((ms, randomness) == (later_ms, other))


@given(_MS, _RANDOM)
def test_an_id_is_26_characters_without_those_that_people_mix_up(ms: int, randomness: bytes) -> None:
    push_id = new_push_id(ms, randomness)
    assert len(push_id) == 26
    assert not set(push_id) - set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")


def test_the_time_part_is_that_of_the_ulid_specification() -> None:
    # The specification's own example of an encoded time.
    assert new_push_id(1469918176385, bytes(10)) == "01ARYZ6S41" + "0" * 16
