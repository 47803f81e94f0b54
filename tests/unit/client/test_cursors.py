"""cloudpush.cursors: which message is new, where to go on, what to acknowledge."""

from cloudpush.cursors import MOST_RESUMED, Cursors, Found, Place, State, Verdict

HAND, SKIP, DROP = Verdict.HAND, Verdict.SKIP, Verdict.DROP


def opened(state: State | None = None) -> Cursors:
    cursors = Cursors(state)
    cursors.arrive_connection()
    return cursors


def take(cursors: Cursors, key: str, epoch: str, offset: int, push_id: str | None = None) -> Verdict:
    return cursors.arrive(key, Place(epoch, offset), push_id or f"{key}/{epoch}/{offset}")


def done(cursors: Cursors, key: str, epoch: str, offset: int, push_id: str) -> None:
    cursors.finish(key, Place(epoch, offset), push_id)
    cursors.kept(cursors.state())


def test_a_message_is_new_once() -> None:
    cursors = opened()
    assert [take(cursors, "k", "e", offset) for offset in (1, 2, 2, 1, 5, 4, 6)] == [
        HAND, HAND, DROP, DROP, HAND, DROP, HAND,
    ]  # fmt: skip


def test_a_message_of_another_epoch_is_newer_whatever_its_offset() -> None:
    cursors = opened()
    take(cursors, "k", "e", 7)
    assert [take(cursors, "k", "f", offset) for offset in (1, 1, 2)] == [HAND, DROP, HAND]


def test_a_push_to_two_keys_is_handed_over_once_and_moves_both_cursors() -> None:
    cursors = opened()
    assert take(cursors, "k", "e", 1, "p") is HAND
    assert take(cursors, "mid:4", "e", 9, "p") is SKIP
    done(cursors, "k", "e", 1, "p")
    done(cursors, "mid:4", "e", 9, "p")
    assert cursors.resume() == {"k": Place("e", 1), "mid:4": Place("e", 9)}


def test_an_ephemeral_push_is_handed_over_once_and_does_not_make_durable_ones_forgotten() -> None:
    cursors = opened()
    take(cursors, "k", "e", 1, "p")
    assert [cursors.arrive("k", None, "x") for _ in range(2)] == [HAND, DROP]
    assert all(cursors.arrive("k", None, f"x{n}") is HAND for n in range(5000))
    assert take(cursors, "mid:4", "e", 1, "p") is SKIP


def test_a_new_connection_and_a_restart_go_on_after_what_was_kept_and_what_waits_is_not_new() -> None:
    cursors = opened()
    for offset in (1, 2, 3):
        take(cursors, "k", "e", offset)
    done(cursors, "k", "e", 1, "k/e/1")
    cursors.finish("k", Place("e", 2), "k/e/2")  # a node would take it for an ack, and it is not kept yet
    assert cursors.resume() == {"k": Place("e", 1)}
    assert [take(cursors, "k", "e", offset) for offset in (2, 3, 4)] == [DROP, DROP, HAND]
    again = opened(State({"k": Place("e", 1)}))
    assert again.resume() == {"k": Place("e", 1)}
    assert [take(again, "k", "e", offset) for offset in (1, 2)] == [DROP, HAND]


def test_what_waits_is_not_new_whatever_its_epoch() -> None:
    cursors = opened(State({"k": Place("e", 3)}))
    sent = [("e", 4), ("e", 5), ("f", 6), ("f", 7)]
    assert [take(cursors, "k", *place) for place in sent] == [HAND] * 4
    assert [take(cursors, "k", *place) for place in sent] == [DROP] * 4


def test_a_session_that_began_and_had_nothing_goes_on_from_where_it_began() -> None:
    cursors = opened()
    cursors.arrive_start("room:r", Place("e", 57))
    assert cursors.resume() == {"room:r": Place("e", 57)}


def test_a_restart_remembers_the_pushes_it_handled_under_another_key() -> None:
    cursors = opened()
    for n in range(100):
        take(cursors, "k", "e", n + 1, f"p{n}")
        cursors.finish("k", Place("e", n + 1), f"p{n}")
    take(cursors, "k", "e", 200, "taken, not handled")
    again = opened(cursors.state())
    assert len(cursors.state().seen) == 64
    assert take(again, "mid:4", "e", 1, "p99") is SKIP
    assert take(again, "mid:4", "e", 2, "p36") is SKIP
    assert take(again, "mid:4", "e", 3, "p35") is HAND  # the 65th
    assert take(again, "k", "e", 200, "taken, not handled") is HAND


def test_where_the_node_begins_counts_only_without_a_cursor() -> None:
    cursors = opened(State({"k": Place("e", 5)}))
    assert cursors.arrive_start("new", Place("", 0))
    assert not cursors.arrive_start("k", Place("e", 3))
    assert take(cursors, "k", "e", 5) is DROP


def test_after_a_gap_the_node_goes_on_where_it_says() -> None:
    for place in (Place("e", 9), Place("f", 2)):
        cursors = opened(State({"k": Place("e", 5)}))
        assert cursors.arrive_gap("k", place) is Found.LOST_AND_MOVED
        cursors.finish_start("k", place)
        cursors.kept(cursors.state())
        assert cursors.resume() == {"k": place}
        assert [take(cursors, "k", place.epoch, place.offset + n) for n in (0, 1)] == [DROP, HAND]


def test_what_was_trimmed_but_waits_here_is_no_gap() -> None:
    cursors = opened(State({"k": Place("e", 1)}))
    for offset in (2, 3, 4):
        take(cursors, "k", "e", offset)
    assert cursors.arrive_gap("k", Place("e", 3)) is Found.NOTHING
    assert take(cursors, "k", "e", 4) is DROP
    assert cursors.arrive_gap("k", Place("e", 6)) is Found.LOST_AND_MOVED


def test_a_gap_that_may_be_before_what_waits_is_told_and_moves_nothing() -> None:
    cursors = opened(State({"k": Place("e", 1)}))
    take(cursors, "k", "e", 2)
    take(cursors, "k", "f", 6)
    assert cursors.arrive_gap("k", Place("e", 5)) is Found.LOST
    assert [take(cursors, "k", "f", offset) for offset in (6, 7)] == [DROP, HAND]


def test_a_store_that_has_lost_what_we_have_is_told_once() -> None:
    cursors = opened(State({"k": Place("e", 9)}))
    assert cursors.arrive_gap("k", Place("e", 6)) is Found.LOST_AND_MOVED
    assert cursors.acks() == {}
    cursors.finish_start("k", Place("e", 6))
    cursors.kept(cursors.state())
    assert (cursors.resume(), cursors.acks()) == ({"k": Place("e", 6)}, {})


def test_what_is_done_is_asked_to_be_acknowledged_once_a_connection_and_not_again_once_it_is() -> None:
    cursors = opened()
    for offset in (1, 2, 3):
        take(cursors, "k", "e", offset)
    assert cursors.acks() == {}
    done(cursors, "k", "e", 1, "1")
    done(cursors, "k", "e", 2, "2")
    assert (cursors.acks(), cursors.acks()) == ({"k": 2}, {})
    cursors.lose_connection()
    assert cursors.acks() == {}
    cursors.arrive_connection()
    assert cursors.acks() == {"k": 2}  # nobody said that it had arrived
    cursors.acked({"k": 2, "other": 5})
    cursors.arrive_connection()
    assert cursors.acks() == {}


def test_what_is_done_but_not_kept_is_not_acknowledged() -> None:
    cursors = opened()
    take(cursors, "k", "e", 1)
    cursors.finish("k", Place("e", 1), "1")
    assert cursors.acks() == {}


def test_an_answer_for_less_than_was_asked_is_not_taken_for_all() -> None:
    cursors = opened()
    take(cursors, "k", "e", 4)
    done(cursors, "k", "e", 4, "4")
    cursors.acks()
    cursors.acked({"k": 3})
    cursors.arrive_connection()
    assert cursors.acks() == {"k": 4}


def test_nothing_of_an_epoch_that_was_left_is_acknowledged() -> None:
    cursors = opened()
    take(cursors, "k", "e", 9)
    take(cursors, "k", "f", 1)
    done(cursors, "k", "e", 9, "old")
    assert cursors.acks() == {}
    done(cursors, "k", "f", 1, "new")
    assert cursors.acks() == {"k": 1}


def test_where_a_session_begins_needs_no_acknowledgement() -> None:
    cursors = opened()
    cursors.arrive_start("room:r", Place("e", 57))
    cursors.finish_start("room:r", Place("e", 57))
    cursors.kept(cursors.state())
    assert cursors.acks() == {}
    assert cursors.state().cursors == {"room:r": Place("e", 57)}


def test_a_key_that_was_given_up_leaves_nothing_behind_even_by_what_still_waits() -> None:
    cursors = opened()
    take(cursors, "room:r", "e", 1)
    cursors.forget("room:r")
    done(cursors, "room:r", "e", 1, "p")
    assert (cursors.resume(), dict(cursors.state().cursors), cursors.acks()) == ({}, {}, {})


def test_at_most_two_hundred_cursors_are_sent_those_that_moved_last() -> None:
    cursors = opened()
    for n in range(1500):
        take(cursors, f"k{n}", "e", 1)
        done(cursors, f"k{n}", "e", 1, f"p{n}")
    resumed = cursors.resume()
    assert (len(resumed), next(iter(resumed))) == (MOST_RESUMED, "k1300")
    assert len(cursors.state().cursors) == 1000
