"""The batch stream: one answer a batch, in order, whatever is in it and whatever becomes of it."""

import threading
from collections.abc import Iterator
from unittest.mock import Mock

import grpc
import pytest

from cloud_node import stream as module
from proto import cloud_pb2
from tests.parts.hub_thread import SOON_S, busy
from tests.parts.process import until
from tests.parts.stream import GrpcNode, Stream, push

_DELIVERED = cloud_pb2.PushMsgReply(outcomes=[cloud_pb2.OUTCOME_DELIVERED], sessions=[1])
_NOBODY = cloud_pb2.PushMsgReply(outcomes=[cloud_pb2.OUTCOME_NO_SESSION], sessions=[0])


@pytest.fixture
def node() -> Iterator[GrpcNode]:
    node = GrpcNode()
    yield node
    node.end()


@pytest.fixture
def stream(node: GrpcNode) -> Stream:
    return node.stream()


def _waits(node: GrpcNode, calls: int) -> None:
    until(lambda: len(node.bridge) == calls, SOON_S, f"{calls} calls that wait")


def _open(node: GrpcNode, streams: int) -> None:
    until(lambda: node.open_streams() == streams, SOON_S, f"{streams} open streams")


def test_each_push_has_its_answer_in_the_order_of_the_batch(node: GrpcNode, stream: Stream) -> None:
    stream.send(7, push("a"), push("b", "nobody"), push("c", "k", "nobody", "k"), push("d"))
    reply = stream.reply()
    assert (reply.seq, reply.end, reply.error) == (7, cloud_pb2.BATCH_DONE, "")
    three = cloud_pb2.PushMsgReply(outcomes=[1, 2, 1], sessions=[1, 0, 1])  # type: ignore[list-item]
    assert list(reply.replies) == [_DELIVERED, _NOBODY, three, _DELIVERED]
    assert node.got == ["a", "b", "c", "d"]
    assert stream.ended() is grpc.StatusCode.OK


def test_batches_sent_ahead_are_delivered_and_answered_in_the_order_they_were_sent(
    node: GrpcNode, stream: Stream
) -> None:
    for seq in range(50):
        stream.send(seq, push(f"{seq}a"), push(f"{seq}b"))
    assert [stream.reply().seq for _ in range(50)] == list(range(50))
    assert node.got == [f"{seq}{letter}" for seq in range(50) for letter in "ab"]


def test_an_empty_batch_is_answered(stream: Stream) -> None:
    stream.send(3)
    assert stream.reply() == cloud_pb2.PushBatchReply(seq=3)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (cloud_pb2.PushMsgReq(proto=cloud_pb2.Proto(body=b"1")), "no keys"),
        (cloud_pb2.PushMsgReq(keys=["k"]), "no proto"),
        (push("bad", body=b"{nope"), "proto.body is not JSON"),
        (push("bad", *["k"] * 10_001), "more than 10000 keys"),
        (push("bad", "broken"), "failed on the node: RuntimeError('as asked')"),
    ],
    ids=lambda it: it.replace(" ", "-") if isinstance(it, str) else "",
)
def test_a_bad_push_costs_only_itself(node: GrpcNode, stream: Stream, bad: cloud_pb2.PushMsgReq, reason: str) -> None:
    stream.send(1, push("a"), bad, push("c"))
    first, second, third = stream.reply().replies
    assert (first, third) == (_DELIVERED, _DELIVERED)
    assert second.error.startswith(reason)
    assert not second.outcomes
    assert node.got == ["a", "c"]


def test_too_many_pushes_are_refused_as_a_whole_and_the_stream_goes_on(node: GrpcNode, stream: Stream) -> None:
    stream.send(1, *[push("many")] * 1_001)
    stream.send(2, *[push("just")] * 1_000)
    refused, taken = stream.reply(), stream.reply()
    assert (refused.end, refused.error) == (cloud_pb2.BATCH_INVALID, "1001 pushes are more than 1000")
    assert (refused.seq, len(refused.replies)) == (1, 0)
    assert (taken.seq, len(taken.replies)) == (2, 1_000)
    assert node.got == ["just"] * 1_000


def test_a_batch_of_more_than_4_mib_ends_the_stream(node: GrpcNode, stream: Stream) -> None:
    stream.send(1, push("big", body=b'"' + b"x" * 4 * 1024 * 1024 + b'"'))
    assert stream.ends() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert node.got == []
    _open(node, 0)


def test_while_the_bridge_is_full_a_batch_is_handed_back_and_the_stream_goes_on(node: GrpcNode, stream: Stream) -> None:
    others = [node.stream() for _ in range(16)]
    with busy(node.bridge):
        for number, other in enumerate(others):
            other.send(number, push("other"))
            _waits(node, number + 1)
        stream.send(9, push("refused"), push("refused"))
        busy_reply = stream.reply()
    assert (busy_reply.seq, busy_reply.end) == (9, cloud_pb2.BATCH_BUSY)
    assert busy_reply.error == "the hub is behind"
    stream.send(10, push("again"))
    assert list(stream.reply().replies) == [_DELIVERED]
    assert [other.reply().seq for other in others] == list(range(16))
    assert sorted(node.got) == ["again"] + ["other"] * 16


def test_what_the_hub_did_not_begin_in_time_is_handed_back_and_never_delivered(
    node: GrpcNode, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BEGIN_S", 0.05)
    with busy(node.bridge):
        stream.send(1, push("late"))
        late = stream.reply()
    assert (late.end, len(late.replies)) == (cloud_pb2.BATCH_LATE, 0)
    assert late.error.endswith("nothing was sent")
    monkeypatch.setattr(module, "_BEGIN_S", SOON_S)
    stream.send(2, push("next"))
    assert list(stream.reply().replies) == [_DELIVERED]
    assert node.got == ["next"]


def test_streams_do_not_wait_for_each_other(node: GrpcNode) -> None:
    streams = [node.stream() for _ in range(8)]  # of the threads, 2 are meant for calls
    for number, stream in enumerate(streams):
        stream.send(number, push(f"{number}"))
    for number, stream in reversed(list(enumerate(streams))):
        assert stream.reply().seq == number
    assert sorted(node.got) == [f"{number}" for number in range(8)]


def test_a_stream_too_many_is_refused_until_one_ends(node: GrpcNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STREAMS", 1)
    first = node.stream()
    first.send(1)
    first.reply()
    assert node.stream().ends() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert first.ended() is grpc.StatusCode.OK
    _open(node, 0)
    assert node.stream().ended() is grpc.StatusCode.OK


@pytest.mark.parametrize("token", [None, "not-the-token-of-this-node-at-all"])
def test_without_the_token_a_stream_ends_before_its_first_batch(node: GrpcNode, token: str | None) -> None:
    assert node.stream(token).ends() is grpc.StatusCode.UNAUTHENTICATED


def test_a_stream_cancelled_while_its_batch_waits_leaves_the_node_as_it_was(node: GrpcNode, stream: Stream) -> None:
    with busy(node.bridge):
        stream.send(1, push("a"))
        _waits(node, 1)
        stream.call.cancel()
    _open(node, 0)
    other = node.stream()
    other.send(2, push("b"))
    assert list(other.reply().replies) == [_DELIVERED]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WATCH_S", 0.05)
    monkeypatch.setattr(module, "_UNREAD_S", 0.5)


@pytest.mark.usefixtures("impatient")
def test_a_caller_that_reads_no_answers_is_held_and_then_cut_off(node: GrpcNode) -> None:
    stream = node.stream()
    for seq in range(400):
        stream.send(seq, push(f"{seq}", *["k"] * 9_000))  # its answer has 18 KiB
    _open(node, 1)
    _open(node, 0)
    assert len(node.got) < 400
    assert stream.ends() is grpc.StatusCode.CANCELLED


def test_a_node_that_stops_answers_what_it_has_in_hand_and_ends_the_stream(node: GrpcNode, stream: Stream) -> None:
    with busy(node.bridge):
        stream.send(1, push("a"))
        _waits(node, 1)
        stopped = node.stop()
        stream.send(2, push("b"))
    assert list(stream.reply().replies) == [_DELIVERED]
    assert stream.ends() is grpc.StatusCode.UNAVAILABLE
    assert stopped.wait(SOON_S)
    assert node.got == ["a"]


def test_a_node_that_stops_ends_a_stream_that_waits_at_once(node: GrpcNode, stream: Stream) -> None:
    stream.send(1)
    stream.reply()
    stopped = node.stop()
    assert stopped.wait(SOON_S)
    # The end of the stream or the end of its connection, whichever comes first.
    assert stream.ends() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}


def test_while_a_node_stops_each_batch_is_answered_or_not_delivered_and_nothing_hangs(node: GrpcNode) -> None:
    streams = [node.stream() for _ in range(4)]
    answered: list[set[int]] = [set() for _ in streams]
    going = threading.Barrier(5)

    def take(number: int) -> None:
        reply = streams[number].reply()
        if reply.end == cloud_pb2.BATCH_DONE:  # else the bridge was full, of other streams' batches
            answered[number].add(reply.seq)

    def run(number: int) -> None:
        for seq in range(5_000):
            streams[number].send(seq, push(f"{number}:{seq}"))
        for _ in range(50):
            take(number)
        going.wait(SOON_S)
        try:
            while True:
                take(number)
        except grpc.RpcError:
            return

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    going.wait(2 * SOON_S)
    assert node.stop().wait(SOON_S)
    for thread in threads:
        thread.join(SOON_S)
        assert not thread.is_alive()
    assert all(len(seqs) < 5_000 for seqs in answered), "nothing was under way when the node stopped"
    assert set(node.got) == {f"{number}:{seq}" for number, seqs in enumerate(answered) for seq in seqs}


def test_a_batch_that_comes_as_the_node_stops_is_dropped_whole() -> None:
    context = Mock()
    one = module.PushStream(context)

    def batches() -> Iterator[cloud_pb2.PushBatch]:
        one.end()
        yield cloud_pb2.PushBatch(seq=1)

    begun: list[cloud_pb2.PushBatch] = []
    assert list(one.replies(batches(), begun.append)) == []  # type: ignore[arg-type]
    assert begun == []
    assert context.abort.call_args.args[0] is grpc.StatusCode.UNAVAILABLE


def test_batches_are_read_ahead_so_that_the_hub_takes_them_together(node: GrpcNode, stream: Stream) -> None:
    with busy(node.bridge):
        for seq in range(5):
            stream.send(seq, push(f"{seq}"))
        _waits(node, 5)
    assert [stream.reply().seq for _ in range(5)] == list(range(5))
    assert node.got == list("01234")


def test_while_the_bridge_is_full_a_stream_waits_for_its_own_batches_and_none_is_handed_back(
    node: GrpcNode, stream: Stream
) -> None:
    with busy(node.bridge):
        for seq in range(30):  # the bridge holds 16
            stream.send(seq, push(f"{seq}"))
        _waits(node, 16)
    assert [(reply.seq, reply.end) for reply in (stream.reply() for _ in range(30))] == [
        (seq, cloud_pb2.BATCH_DONE) for seq in range(30)
    ]
    assert node.got == [f"{seq}" for seq in range(30)]


def test_no_more_than_a_window_is_read_ahead(node: GrpcNode, stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AHEAD", 3)
    with busy(node.bridge):
        for seq in range(6):
            stream.send(seq, push(f"{seq}"))
        _waits(node, 3)
        assert node.stream().ended() is grpc.StatusCode.OK  # time enough for a fourth
        assert len(node.bridge) == 3
    assert [stream.reply().seq for _ in range(6)] == list(range(6))


def test_batches_read_ahead_are_bounded_by_their_bytes(
    node: GrpcNode, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AHEAD_BYTES", 1_000)
    with busy(node.bridge):
        for seq in range(4):
            stream.send(seq, push(f"{seq}", body=b'"' + b"x" * 900 + b'"'))
        _waits(node, 2)
        assert node.stream().ended() is grpc.StatusCode.OK
        assert len(node.bridge) == 2
    assert [stream.reply().seq for _ in range(4)] == list(range(4))
