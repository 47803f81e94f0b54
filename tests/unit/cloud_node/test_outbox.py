"""What waits for one socket: written in order, counted exactly, and cut at the end of a frame."""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_node.wire import frames
from cloud_node.wire.outbox import Outbox
from tests.fakes.wire import fill, small_pair, take_all

_Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[_Pair]:
    ends = small_pair()
    yield ends
    for end in ends:
        end.close()


class _Sock:
    """Takes as many bytes in each call as *takes* says, then is full."""

    def __init__(self, takes: list[int]) -> None:
        self._takes = list(takes)
        self.taken = b""
        self.calls = 0

    def send(self, data: bytes | memoryview) -> int:
        self.calls += 1
        if not self._takes:
            raise BlockingIOError
        count = min(self._takes.pop(0), len(data))
        self.taken += bytes(data[:count])
        return count

    def sendmsg(self, buffers: list[bytes | memoryview]) -> int:
        assert len(buffers) <= 1024, "the kernel's IOV_MAX"
        return self.send(b"".join(buffers))


def _write(outbox: Outbox, sock: _Sock) -> bool:
    return outbox.write(sock)  # type: ignore[arg-type]


def test_everything_goes_out_in_order_and_in_one_call(pair: _Pair) -> None:
    outbox = Outbox(b"one")
    for chunk in (b"two", b"three"):
        outbox.put(chunk)
    assert outbox.size == 11
    assert outbox.write(pair[0])
    assert take_all(pair[1]) == b"onetwothree"
    assert outbox.size == 0
    sock = _Sock([100])
    outbox.put(b"a")
    outbox.put(b"b")
    assert _write(outbox, sock)
    assert sock.calls == 1


def test_what_has_gone_out_already_is_not_written_again(pair: _Pair) -> None:
    outbox = Outbox(b"one", 2)
    outbox.put(b"two")
    assert outbox.size == 4
    assert outbox.write(pair[0])
    assert take_all(pair[1]) == b"etwo"


def test_a_full_socket_leaves_everything_for_later(pair: _Pair) -> None:
    zeros = fill(pair[0])
    outbox = Outbox(b"x" * 5000)
    assert not outbox.write(pair[0])
    assert outbox.size == 5000
    got = b""
    while not outbox.write(pair[0]):
        got += take_all(pair[1])
    assert got + take_all(pair[1]) == bytes(zeros) + b"x" * 5000


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=20),
    takes=st.lists(st.lists(st.integers(0, 40), max_size=6), max_size=10),
    begun=st.data(),
)
def test_however_little_a_socket_takes_nothing_is_lost_or_said_twice(
    chunks: list[bytes], takes: list[list[int]], begun: st.DataObject
) -> None:
    written = begun.draw(st.integers(0, len(chunks[0]) - 1))
    outbox, taken = Outbox(chunks[0], written), chunks[0][:written]
    rest = chunks[1:]
    for each in takes:
        if rest:
            outbox.put(rest.pop(0))
        sock = _Sock(each)
        empty = _write(outbox, sock)
        taken += sock.taken
        assert empty == (outbox.size == 0 and not outbox._chunks)
        assert outbox.size == sum(map(len, chunks[: len(chunks) - len(rest)])) - len(taken)
    for chunk in rest:
        outbox.put(chunk)
    last = _Sock([1_000_000])
    assert _write(outbox, last)
    assert taken + last.taken == b"".join(chunks)


def test_more_chunks_than_one_call_takes_go_out_in_several() -> None:
    outbox = Outbox(b"0")
    for number in range(1, 3000):
        outbox.put(b"%d" % (number % 10))
    sock = _Sock([10_000] * 10)
    assert _write(outbox, sock)
    assert sock.taken == b"0123456789" * 300
    assert sock.calls == 6


def test_a_broken_socket_raises(pair: _Pair) -> None:
    pair[1].close()
    with pytest.raises(OSError, match="Broken pipe"):
        Outbox(b"x").write(pair[0])


_FRAMES = [frames.encode(frames.TEXT, bytes(size)) for size in (0, 3, 125, 126, 300, 70_000)]


@pytest.mark.parametrize("whole", _FRAMES, ids=len)
def test_of_a_begun_frame_only_the_rest_is_kept(whole: bytes) -> None:
    first = frames.encode(frames.TEXT, b"first")
    for written in sorted({1, 2, len(first) - 1, len(first) + 1, len(first) + 2, len(first) + len(whole) - 1}):
        chunk = first + whole + frames.encode(frames.TEXT, b"last")
        outbox = Outbox(chunk, written)
        outbox.put(frames.encode(frames.TEXT, b"later"))
        outbox.keep_only_begun_frame()
        sock = _Sock([1_000_000])
        size = outbox.size
        assert _write(outbox, sock)
        assert len(sock.taken) == size
        begun = first if written < len(first) else first + whole
        assert chunk[:written] + sock.taken == begun


@pytest.mark.parametrize("written", [0, 7])
def test_between_two_frames_nothing_is_kept(written: int) -> None:
    one = frames.encode(frames.TEXT, b"hello")
    assert len(one) == 7
    outbox = Outbox(one * 3, written)
    outbox.put(one)
    outbox.keep_only_begun_frame()
    assert outbox.size == 0
    assert _write(outbox, _Sock([]))


def test_a_begun_frame_is_kept_also_when_chunks_before_it_have_gone_out() -> None:
    one = frames.encode(frames.TEXT, b"hello")
    outbox = Outbox(one)
    outbox.put(one)
    assert not _write(outbox, _Sock([10]))
    outbox.keep_only_begun_frame()
    sock = _Sock([100])
    assert _write(outbox, sock)
    assert sock.taken == one[3:]
