"""What a call sends to one node: how it is cut, and how answers are read."""

import pytest

from proto import cloud_pb2
from proto.errors import NodeRefused, NodeUnreachable
from proto.message import KeyOutcome, Message, Outcome, Push
from tasks.link_parcel import UNANSWERED, UNSERVED, Failure, Parcel, Replies, Waiting, read_reply

_NODE = "here:1#b"


def _push(number: int, size: int = 0) -> Push:
    return Push(f"p{number}", ("a", "b"), Message(9, b'"%s"' % (b"x" * size)))


def _parcel(*pushes: Push) -> Parcel:
    return Parcel(_NODE, [(push, push.keys) for push in pushes])


def test_a_chunk_is_a_batch_of_requests_in_their_order() -> None:
    pushes = [_push(number) for number in range(3)]
    (chunk,) = _parcel(*pushes).chunks(Waiting())
    assert list(cloud_pb2.PushBatch.FromString(chunk.data).pushes) == [push.to_request(push.keys) for push in pushes]
    assert list(chunk.numbers) == [0, 1, 2]


def test_many_pushes_are_cut_by_number_and_large_ones_by_bytes() -> None:
    many = _parcel(*map(_push, range(250))).chunks(Waiting())
    assert [len(chunk.numbers) for chunk in many] == [100, 100, 50]
    assert [number for chunk in many for number in chunk.numbers] == list(range(250))
    large = _parcel(*(_push(number, 1_000_000) for number in range(5))).chunks(Waiting())
    assert [len(chunk.numbers) for chunk in large] == [2, 2, 1]
    assert all(len(chunk.data) <= 2 * 1024 * 1024 for chunk in large)


@pytest.mark.parametrize(("size", "taken"), [(4 * 1024 * 1024 - 200, True), (4 * 1024 * 1024 - 60, False)])
def test_a_push_that_no_message_can_hold_is_refused_and_its_companions_go(size: int, taken: bool) -> None:
    parcel = _parcel(_push(0), _push(1, size), _push(2))
    chunks = parcel.chunks(Waiting())
    assert [number for chunk in chunks for number in chunk.numbers] == ([0, 1, 2] if taken else [0, 2])
    assert all(len(chunk.data) < 4 * 1024 * 1024 - 16 for chunk in chunks)
    refused = parcel.answers[1]
    assert refused is None if taken else isinstance(refused, NodeRefused) and "more than a node takes" in refused.reason


def test_each_push_gets_its_own_part_of_the_answer() -> None:
    parcel = _parcel(_push(0), _push(1))
    (chunk,) = parcel.chunks(Waiting())
    replies = [cloud_pb2.PushMsgReply(outcomes=[outcome, 2], sessions=[3, 0]) for outcome in (9, 4, 1, 9)]  # type: ignore[list-item]
    chunk.settle(Replies(replies, 1))
    assert parcel.read(chunk)
    assert parcel.answers == [
        {"a": KeyOutcome(Outcome.EXPIRED, 3), "b": KeyOutcome(Outcome.NO_SESSION)},
        {"a": KeyOutcome(Outcome.DELIVERED, 3), "b": KeyOutcome(Outcome.NO_SESSION)},
    ]


@pytest.mark.parametrize("failure", [Failure(NodeUnreachable, "gone"), UNANSWERED])
def test_a_chunk_that_failed_fails_each_of_its_pushes(failure: Failure) -> None:
    parcel = _parcel(_push(0), _push(1))
    (chunk,) = parcel.chunks(Waiting())
    if failure is not UNANSWERED:  # else nobody settles it
        chunk.settle(failure)
    assert parcel.read(chunk) is failure.told
    assert [(type(answer), str(answer)) for answer in parcel.answers] == [
        (NodeUnreachable, f"{_NODE}: {failure.reason}")
    ] * 2


def test_what_no_stream_took_has_no_answer_yet() -> None:
    parcel = _parcel(_push(0), _push(1))
    (chunk,) = parcel.chunks(Waiting())
    chunk.settle(UNSERVED)
    assert parcel.read(chunk)
    assert parcel.unanswered() == [0, 1]


@pytest.mark.parametrize(
    ("keys", "fields", "answer"),
    [
        (["a"], {"outcomes": [1], "sessions": [2]}, {"a": KeyOutcome(Outcome.DELIVERED, 2)}),
        (["a"], {"outcomes": [2]}, {"a": KeyOutcome(Outcome.NO_SESSION)}),
        (["a"], {}, {"a": KeyOutcome(Outcome.DELIVERED)}),
        (["a"], {"error": "no proto"}, "no proto"),
        (["a"], {"outcomes": [99]}, "its reply makes no sense: 99 is not a valid Outcome"),
        (["a"], {"outcomes": [1, 1]}, "its reply makes no sense: 2 outcomes for 1 keys"),
        (["a", "b"], {"outcomes": [1]}, "its reply makes no sense: 1 outcomes for 2 keys"),
    ],
)
def test_replies_and_what_they_mean(keys: list[str], fields: dict[str, object], answer: object) -> None:
    read = read_reply(_NODE, keys, cloud_pb2.PushMsgReply(**fields))  # type: ignore[arg-type]
    assert (read.reason if isinstance(read, NodeRefused) else read) == answer


def test_a_call_waits_until_the_last_of_its_chunks_is_settled_and_it_has_handed_over_all() -> None:
    waiting = Waiting()
    waiting.more(2)
    waiting.one_less()
    waiting.one_less()
    assert not waiting.wait(0)
    waiting.one_less()
    assert waiting.wait(0)
