"""What was handed out lately is kept within one bound for all keys; the oldest of all makes room."""

from collections import deque

from cloud_node.acks import Handed
from cloud_node.tails import _EACH, Tails
from proto.message import Message
from store.inbox import Kept


class _Key:
    def __init__(self, tail_from: int = 0) -> None:
        self.tail: deque[Kept] | None = None
        self.tail_from = tail_from
        self.ids: dict[int, Handed] | None = None

    @property
    def offsets(self) -> list[int]:
        return [kept.offset for kept in self.tail or ()]


def _kept(offset: int, size: int = 0) -> Kept:
    return Kept(offset, "p", Message(1, b"x" * size), 0, 0)


def test_the_oldest_of_all_keys_makes_room() -> None:
    tails, one, two = Tails(3 * _EACH), _Key(10), _Key(20)
    tails.keep(one, _kept(11))
    tails.keep(two, _kept(21))
    tails.keep(one, _kept(12))
    assert (one.tail_from, one.offsets, two.tail_from, two.offsets) == (10, [11, 12], 20, [21])
    tails.keep(two, _kept(22))
    assert (one.tail_from, one.offsets, two.tail_from, two.offsets) == (11, [12], 20, [21, 22])
    tails.keep(two, _kept(23))
    assert (one.tail_from, one.offsets, two.tail_from, two.offsets) == (11, [12], 21, [22, 23])


def test_bodies_count() -> None:
    tails, one = Tails(1000), _Key()
    for offset in (1, 2, 3):
        tails.keep(one, _kept(offset, 300))
    assert (one.tail_from, one.offsets) == (2, [3])
    tails.keep(one, _kept(4, 2000))
    assert (one.tail_from, one.offsets) == (4, []), "what is larger than all is not kept"
    tails.keep(one, _kept(5, 1))
    assert one.offsets == [5]


def test_without_room_nothing_is_kept_and_the_tail_begins_at_the_end() -> None:
    tails, one = Tails(0), _Key()
    tails.keep(one, _kept(1))
    tails.keep(one, _kept(2))
    assert (one.tail_from, one.offsets) == (2, [])


def test_a_tail_that_was_given_up_loses_nothing_of_the_one_that_follows() -> None:
    tails, one = Tails(2 * _EACH), _Key()
    tails.keep(one, _kept(1))
    one.tail, one.tail_from = None, 5  # the epochs have changed
    tails.keep(one, _kept(6))
    tails.keep(one, _kept(7))
    assert (one.tail_from, one.offsets) == (5, [6, 7])
    tails.keep(one, _kept(8))
    assert (one.tail_from, one.offsets) == (6, [7, 8])


def test_what_a_key_that_is_gone_had_counts_until_it_makes_room() -> None:
    tails, gone, one = Tails(2 * _EACH), _Key(), _Key()
    tails.keep(gone, _kept(1))
    tails.keep(one, _kept(1))
    assert len(tails._kept) == 2
    tails.keep(one, _kept(2))
    assert len(tails._kept) == 2
    assert tails._size == 2 * _EACH
    assert one.offsets == [1, 2]
