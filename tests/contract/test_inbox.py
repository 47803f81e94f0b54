"""What an inbox guarantees, on real servers; tests/properties/test_inbox.py drives it at random."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from proto.message import Place
from store.inbox import Page, Position
from tests.parts.kept import BODY, HOUR_MS, Kept, open_kept

pytestmark = pytest.mark.services

_ODD = ["a", "A", "{a}", "a}b{c", "%7Ba%7D", "a b", "用户", "room:live://1000", "mid:42", "all", "x" * 256]


@pytest.fixture(params=["redis", "valkey"])
def small(request: pytest.FixtureRequest) -> Kept:
    """Inboxes of 5 messages, or 65,536 bytes, and 2 messages for all."""
    url: str = request.getfixturevalue(request.param)
    return open_kept(url, inbox_max_messages=5, inbox_max_messages_all=2, inbox_max_bytes=65_536)


def _offsets(kept: Kept, key: str = "a", after: int = 0, limit: int = 100) -> list[int]:
    return [message.offset for message in kept.inbox.read({key: after}, limit)[key].messages]


def _another_process(kept: Kept, key: str = "a") -> None:
    """What a restart of Redis looks like to the append script."""
    kept.client.hset(f"{kept.settings.store_namespace}:inbox:{{{key}}}:meta", "run", "of-yore")


def test_offsets_of_each_key_count_from_one(kept: Kept) -> None:
    for key in _ODD:
        places = [kept.append(key, f"p{number}").place for number in range(3)]
        assert [place.offset for place in places] == [1, 2, 3]
        assert len({place.epoch for place in places}) == 1
    for key, page in kept.inbox.read(dict.fromkeys(_ODD, 1), 9).items():
        assert [(one.offset, one.push_id, one.message.body) for one in page.messages] == [
            (2, "p1", BODY),
            (3, "p2", BODY),
        ], key


def test_a_message_is_read_as_it_was_appended(kept: Kept) -> None:
    told = kept.append("a", "p1", 5_000)
    assert told.expires_ms == told.accepted_ms + 5_000
    assert abs(told.accepted_ms - kept.now_ms()) < 60_000
    (message,) = kept.inbox.read({"a": 0}, 9)["a"].messages
    assert (message.offset, message.push_id, message.message.op, message.message.body) == (1, "p1", 9, BODY)
    assert (message.accepted_ms, message.expires_ms) == (told.accepted_ms, told.expires_ms)


def test_many_that_append_at_once_get_an_offset_each(kept: Kept) -> None:
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda number: kept.append("a", f"p{number}"), range(64)))
    assert sorted(one.place.offset for one in told) == list(range(1, 65))
    assert {one.place.epoch for one in told} == {told[0].place.epoch}
    read = kept.inbox.read({"a": 0}, 100)["a"].messages
    assert {message.push_id: message.offset for message in read} == {
        f"p{number}": one.place.offset for number, one in enumerate(told)
    }


def test_what_is_read_and_how_far_the_inbox_reaches_are_of_one_moment(small: Kept) -> None:
    keys = [f"k{number}" for number in range(300)]  # more than a server takes off the wire at once
    told: dict[tuple[str, int], str] = {}

    def append() -> None:
        for number in range(1_500):
            key = keys[number * 7 % len(keys)]
            _another_process(small, key)
            place = small.append(key, f"p{number}").place
            told[key, place.offset] = place.epoch

    pages: list[Page] = []
    after = dict.fromkeys(keys, 0)
    with ThreadPoolExecutor(1) as pool:
        appending = pool.submit(append)
        while not appending.done():
            pages += small.inbox.read(after, 100).values()
            after = {page.key: page.through for page in pages[-len(keys) :]}
        appending.result()
    for page in pages:
        offsets = [message.offset for message in page.messages]
        assert offsets == list(range(max(page.after, page.position.trimmed) + 1, page.through + 1)), "lost in silence"
        for offset in offsets:
            assert page.position.epoch_of(offset) == told[page.key, offset]
    assert sum(len(page.messages) for page in pages) > 500, "hardly any was read: the test would prove nothing"


def test_an_append_that_is_repeated_finds_what_it_appended_and_others_do_not(kept: Kept) -> None:
    first = kept.append("a", "p1")
    kept.append("a", "p2")
    again = kept.append("a", "p1", 1, again=True)
    assert (again.place, again.expires_ms) == (first.place, first.expires_ms)
    assert kept.append("b", "p1", again=True).place.offset == 1, "another key"
    assert kept.append("a", "p3", again=True).place.offset == 3, "another push"
    assert _offsets(kept) == [1, 2, 3]


def test_a_push_that_was_removed_is_gone_and_its_offset_with_it(kept: Kept) -> None:
    for number in range(3):
        kept.append("a", f"p{number}")
    assert kept.remove("a", "p2") == 3
    assert kept.remove("a", "p2") == 0
    assert kept.remove("b", "p1") == 0
    assert _offsets(kept) == [1, 2]
    assert kept.append("a", "p3").place.offset == 4
    assert _offsets(kept) == [1, 2, 4]
    assert kept.inbox.positions(["a"])["a"].trimmed == 0, "taken back is not lost"


def test_an_empty_inbox_has_no_epoch_and_one_that_was_emptied_keeps_its_own(kept: Kept) -> None:
    assert kept.inbox.positions(["a", "b"]) == {"a": Position(), "b": Position()}
    assert Position().end == Place("", 0)
    place = kept.append("a", "p1").place
    kept.remove("a", "p1")
    position = kept.inbox.positions(["a"])["a"]
    assert (position.end, position.chain) == (place, (Place(place.epoch, 1),))


def test_a_page_says_what_it_covers_and_whether_there_is_more(kept: Kept) -> None:
    for number in range(5):
        kept.append("a", f"p{number}")
    pages = [kept.inbox.read({"a": after}, 2)["a"] for after in (0, 2, 4, 5, 9)]
    assert [[one.offset for one in page.messages] for page in pages] == [[1, 2], [3, 4], [5], [], []]
    assert [page.more for page in pages] == [True, True, False, False, False]
    assert [page.through for page in pages] == [2, 4, 5, 5, 9]
    assert all(page.position.last == 5 for page in pages)


def test_a_page_of_what_was_removed_covers_it_all_the_same(kept: Kept) -> None:
    for number in range(3):
        kept.append("a", f"p{number}")
    kept.remove("a", "p2")
    page = kept.inbox.read({"a": 2}, 9)["a"]
    assert (page.messages, page.through, page.more) == ((), 3, False)


def test_what_has_expired_is_not_read_and_is_not_counted_as_lost(small: Kept) -> None:
    told = small.append("a", "p1", 1)
    small.append("a", "p2")
    small.wait_ms(told.expires_ms)
    page = small.inbox.read({"a": 0}, 9)["a"]
    assert ([one.offset for one in page.messages], page.through) == ([2], 2)
    for number in range(3, 7):
        small.append("a", f"p{number}")
    assert _offsets(small) == [2, 3, 4, 5, 6]
    assert small.inbox.positions(["a"])["a"].trimmed == 0


def test_the_oldest_make_room_when_there_are_too_many_and_it_is_told(small: Kept) -> None:
    for number in range(7):
        small.append("a", f"p{number}")
    assert _offsets(small) == [3, 4, 5, 6, 7]
    assert small.inbox.positions(["a"])["a"].trimmed == 2
    for number in range(3):
        small.append("all", f"p{number}")
    assert _offsets(small, "all") == [2, 3]
    assert small.inbox.positions(["all"])["all"].trimmed == 1


def test_the_oldest_make_room_when_they_are_too_long_but_the_newest_stays(small: Kept) -> None:
    half = b"x" * 32_768
    for number in range(3):
        small.append("a", f"p{number}", body=half)
    assert _offsets(small) == [2, 3]
    small.append("a", "p3", body=half * 4)
    assert _offsets(small) == [4], "one message is never too long for an inbox"
    small.append("a", "p4", body=b"1")
    assert _offsets(small) == [5]
    assert small.inbox.positions(["a"])["a"].trimmed == 4


def test_what_was_removed_takes_no_room(small: Kept) -> None:
    half = b"x" * 32_768
    for number in range(4):
        small.append("a", f"p{number}", body=half)
        small.remove("a", f"p{number}")
    small.append("a", "p8", body=half)
    small.append("a", "p9", body=half)
    assert _offsets(small) == [5, 6]


def test_what_expired_with_the_whole_inbox_takes_no_room(small: Kept) -> None:
    half = b"x" * 32_768
    told = [small.append("a", f"p{number}", 20, body=half) for number in range(2)]
    small.wait_ms(told[-1].expires_ms)
    assert _offsets(small) == []
    for number in range(2, 4):
        small.append("a", f"p{number}", body=half)
    assert _offsets(small) == [3, 4]
    assert small.inbox.positions(["a"])["a"].trimmed == 0


def test_an_inbox_is_dropped_when_its_last_message_expires_and_its_offsets_go_on(kept: Kept) -> None:
    long = kept.append("a", "p1", HOUR_MS)
    kept.append("a", "p2", 1)
    log = f"{kept.settings.store_namespace}:inbox:{{a}}:log"
    assert kept.client.pexpiretime(log) == long.expires_ms, "the longest of them counts"
    kept.client.delete(log)
    place = kept.append("a", "p3").place
    assert place == Place(long.place.epoch, 3)


def test_another_process_of_redis_begins_another_epoch_and_the_ones_before_stay_known(kept: Kept) -> None:
    places = [kept.append("a", "p1").place, kept.append("a", "p2").place]
    _another_process(kept)
    assert kept.inbox.positions(["a"])["a"].end == places[-1], "nobody has appended yet"
    places += [kept.append("a", "p3").place, kept.append("a", "p4").place]
    assert [place.offset for place in places] == [1, 2, 3, 4]
    old, new = places[0].epoch, places[2].epoch
    assert [place.epoch for place in places] == [old, old, new, new]
    assert old != new
    position = kept.inbox.positions(["a"])["a"]
    assert position.chain == (Place(old, 1), Place(new, 3))
    assert [position.epoch_of(offset) for offset in range(1, 6)] == [old, old, new, new, new]
    assert position.end == Place(new, 4)
    assert kept.append("a", "p2", again=True).place == Place(old, 2)


def test_only_so_many_epochs_are_known_and_a_message_of_an_older_one_is_still_found(kept: Kept) -> None:
    kept.append("a", "p0")
    for number in range(1, 20):
        _another_process(kept)
        kept.append("a", f"p{number}")
    position = kept.inbox.positions(["a"])["a"]
    assert [link.offset for link in position.chain] == list(range(5, 21))
    assert position.epoch_of(4) == ""
    assert kept.append("a", "p0", again=True).place == Place("", 1)
    assert _offsets(kept) == list(range(1, 21))
