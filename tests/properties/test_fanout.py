"""Fan-out against its promise: the order of the calls, whatever is emitted, sent and full meanwhile."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_node.wire import fanout as fanout_module
from cloud_node.wire.connection import frame
from cloud_node.wire.recipients import Recipients
from tests.fakes.fanout_world import FanoutWorld
from tests.fakes.wire import take_all, until

_COUNT = 5
_Steps = list[tuple[str, tuple[int, ...]]]

_ONE = st.tuples(st.integers(0, _COUNT - 1))
_GROUP = st.sampled_from([(0, 1, 2, 3, 4), (0, 1), (2, 3, 4), (1, 3), (4,)])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("emit"), _GROUP),
        st.tuples(st.just("send"), _ONE),
        st.tuples(st.just("fill"), _ONE),
        st.tuples(st.sampled_from(["begin", "flush", "turn"]), st.just(())),
    ),
    max_size=6,
)


class _Run:
    """Runs steps, and keeps what each connection is then meant to get; zeros fill sockets from outside."""

    def __init__(self) -> None:
        self.world = FanoutWorld(_COUNT)
        self.meant = [b""] * _COUNT
        self.zeros = [0] * _COUNT
        self._groups: dict[tuple[int, ...], Recipients] = {}
        self._packets = 0

    def run(self, steps: _Steps) -> None:
        for what, numbers in steps:
            getattr(self, what)(numbers)

    def emit(self, numbers: tuple[int, ...]) -> None:
        self.world.emit(self._groups.setdefault(numbers, self.world.group(*numbers)), self._packet(numbers))

    def send(self, numbers: tuple[int, ...]) -> None:
        self.world.send(numbers[0], self._packet(numbers))

    def fill(self, numbers: tuple[int, ...]) -> None:
        self.zeros[numbers[0]] += self.world.fill(numbers[0])

    def begin(self, _: tuple[int, ...]) -> None:
        self.world.fanout.begin()

    def flush(self, _: tuple[int, ...]) -> None:
        self.world.fanout.flush()

    def turn(self, _: tuple[int, ...]) -> None:
        self.world.rig.engine.reactor.turn()

    def _packet(self, numbers: tuple[int, ...]) -> str:
        self._packets += 1
        packet = f"4{self._packets}"
        for number in numbers:
            self.meant[number] += frame(packet.encode())
        return packet


@settings(max_examples=200, deadline=None)
@given(main=_STEPS, pauses=st.lists(_STEPS, max_size=4))
def test_everybody_gets_everything_in_the_order_of_the_calls_whatever_happens_in_the_pauses(
    main: _Steps, pauses: list[_Steps]
) -> None:
    it = _Run()
    it.world.in_pauses += [lambda steps=steps: it.run(steps) for steps in pauses]  # type: ignore[misc]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fanout_module, "_SLICE", 1)
        it.run(main)
        it.world.fanout.flush()
    streams = [b""] * _COUNT

    def read() -> bool:
        for number, peer in enumerate(it.world.peers):
            streams[number] += take_all(peer.sock)
        return sum(map(len, streams)) >= sum(map(len, it.meant)) + sum(it.zeros)

    until(read, it.world.rig.engine.reactor)
    # No frame of this test has a zero in it.
    assert [stream.replace(b"\0", b"") for stream in streams] == it.meant
    assert it.world.is_idle
    it.world.rig.close()
