"""The window of pushes that were here lately."""

from hypothesis import given
from hypothesis import strategies as st

from cloud_node.recent import Recent

_PAIRS = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("xyz")))


def test_a_push_is_remembered_for_the_key_it_reached_and_no_other() -> None:
    recent = Recent()
    recent.add("1", "a")
    assert ("1", "a") in recent
    assert ("1", "b") not in recent
    assert ("2", "a") not in recent


@given(_PAIRS, st.integers(1, 4))
def test_the_last_ones_are_remembered_and_memory_is_bounded(pairs: list[tuple[str, str]], capacity: int) -> None:
    recent = Recent(capacity)
    order: dict[tuple[str, str], None] = {}
    for push_id, key in pairs:
        recent.add(push_id, key)
        order[push_id, key] = None
        order = dict.fromkeys(list(order)[-capacity:])
    assert list(recent._pairs) == list(order)
