"""Appends, removals, expiry, restarts and repeats at random, beside a model: an inbox is what it promises.

The model keeps what was appended and knows the bounds; it takes Redis' time from Redis' answers.  A restart of Redis is
what it looks like to the append script: another run id than the one that the key has noted.
"""

import uuid
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from proto.message import Place
from store.inbox import Appended
from tests.parts.kept import HOUR_MS, Kept, open_kept

pytestmark = pytest.mark.services

_MOST, _MOST_BYTES = 6, 65_536
_WAYS = st.sampled_from(["a", "room:b"])
_SIZES = st.sampled_from([1, 2, 20_000, 40_000, 70_000])


@dataclass
class _Message:
    push_id: str
    place: Place
    size: int
    expires_ms: int
    accepted_ms: int


@dataclass
class _Model:
    """One key's inbox."""

    messages: list[_Message] = field(default_factory=list)
    chain: list[Place] = field(default_factory=list)
    last: int = 0
    trimmed: int = 0
    keeps_until_ms: int = 0
    restarted: bool = True
    pushes: list[str] = field(default_factory=list)

    def append(self, push_id: str, size: int, told: Appended) -> None:
        now_ms = told.accepted_ms
        if now_ms >= self.keeps_until_ms:
            self.messages = []
        self.last += 1
        if self.restarted:
            assert told.place.epoch not in {link.epoch for link in self.chain}, "an epoch comes a second time"
            self.chain = [*self.chain, told.place][-16:]
            self.restarted = False
        assert told.place == Place(self.chain[-1].epoch, self.last)
        while self.messages and self.messages[0].expires_ms <= now_ms:
            self.messages.pop(0)
        self.messages.append(_Message(push_id, told.place, size, told.expires_ms, now_ms))
        self.pushes.append(push_id)
        while len(self.messages) > _MOST or (len(self.messages) > 1 and self._bytes() > _MOST_BYTES):
            oldest = self.messages.pop(0)
            if oldest.expires_ms > now_ms:
                self.trimmed = oldest.place.offset
        self.keeps_until_ms = max(self.keeps_until_ms, told.expires_ms)

    def at(self, now_ms: int) -> list[_Message]:
        return [message for message in self.messages if message.expires_ms > now_ms]

    def _bytes(self) -> int:
        return sum(message.size for message in self.messages)


class InboxMachine(RuleBasedStateMachine):
    kept: ClassVar[Kept]

    def __init__(self) -> None:
        super().__init__()
        home = uuid.uuid4().hex[:12]
        self.keys = {way: f"{way}-{home}" for way in ("a", "room:b")}
        self.model = {way: _Model() for way in self.keys}
        self.number = 0

    @rule(way=_WAYS, drawn=st.lists(st.tuples(_SIZES, st.booleans(), st.booleans()), min_size=1, max_size=8))
    def appends(self, way: str, drawn: list[tuple[int, bool, bool]]) -> None:
        for size, brief, again in drawn:
            self.number += 1
            push_id = f"p{self.number}"
            told = self.kept.append(self.keys[way], push_id, 1 if brief else HOUR_MS, body=b"x" * size, again=again)
            self.model[way].append(push_id, size, told)
            if brief:
                self.kept.wait_ms(told.expires_ms)

    @precondition(lambda self: self.number)
    @rule(way=_WAYS, which=st.integers(0, 50), size=_SIZES)
    def appends_again(self, way: str, which: int, size: int) -> None:
        model = self.model[way]
        if not model.pushes:
            return
        push_id = model.pushes[-1 - which % len(model.pushes)]
        told = self.kept.append(self.keys[way], push_id, HOUR_MS, body=b"y" * size, again=True)
        there = [message for message in model.messages if message.push_id == push_id]
        if there and told.accepted_ms < model.keeps_until_ms:
            assert told.place == there[0].place
            assert told.expires_ms == there[0].expires_ms
        else:
            model.append(push_id, size, told)

    @rule(way=_WAYS, which=st.integers(0, 50))
    def removes(self, way: str, which: int) -> None:
        model = self.model[way]
        if not model.pushes:
            return
        push_id = model.pushes[-1 - which % len(model.pushes)]
        offset = self.kept.remove(self.keys[way], push_id)
        there = [message for message in model.messages if message.push_id == push_id]
        if self.kept.now_ms() >= model.keeps_until_ms:
            assert offset == 0
            return
        assert offset == (there[0].place.offset if there else 0)
        model.messages = [message for message in model.messages if message.push_id != push_id]

    @rule(way=_WAYS)
    def redis_restarts(self, way: str) -> None:
        name = f"{self.kept.settings.store_namespace}:inbox:{{{self.keys[way]}}}:meta"
        if self.model[way].last:
            self.kept.client.hset(name, "run", "of-yore")
            self.model[way].restarted = True

    @rule(way=_WAYS)
    def redis_is_emptied(self, way: str) -> None:
        names = f"{self.kept.settings.store_namespace}:inbox:{{{self.keys[way]}}}"
        self.kept.client.delete(f"{names}:meta", f"{names}:log")
        self.model[way] = _Model()

    @rule()
    def redis_forgets_its_scripts(self) -> None:
        self.kept.client.script_flush()

    @rule(way=_WAYS, after=st.integers(0, 30), limit=st.integers(1, 4))
    def reads_in_pages(self, way: str, after: int, limit: int) -> None:
        model, key = self.model[way], self.keys[way]
        expected = [message.place.offset for message in model.at(self.kept.now_ms()) if message.place.offset > after]
        read: list[int] = []
        through, more = after, True
        while more:
            page = self.kept.inbox.read({key: through}, limit)[key]
            assert page.after == through <= page.through
            read += [message.offset for message in page.messages]
            through, more = page.through, page.more
        assert read == expected
        assert through == max(after, model.last)

    @invariant()
    def each_inbox_is_as_the_model_says(self) -> None:
        pages = self.kept.inbox.read(dict.fromkeys(self.keys.values(), 0), 100)
        positions = self.kept.inbox.positions(list(self.keys.values()))
        for way, model in self.model.items():
            page, position = pages[self.keys[way]], positions[self.keys[way]]
            assert (position.chain, position.last, position.trimmed) == (tuple(model.chain), model.last, model.trimmed)
            assert page.position == position
            read = [(one.offset, one.push_id, one.expires_ms, one.accepted_ms) for one in page.messages]
            assert read == [
                (one.place.offset, one.push_id, one.expires_ms, one.accepted_ms) for one in model.at(self.kept.now_ms())
            ]
            assert all(position.epoch_of(one.place.offset) == one.place.epoch for one in model.messages)
            assert (page.through, page.more) == (model.last, False)

    @invariant()
    def a_session_that_lacks_nothing_but_what_is_told_lost_can_know_it(self) -> None:
        # After the newest that was dropped early, each message that is missing has expired or was taken back.
        for way, model in self.model.items():
            live = model.at(self.kept.now_ms())
            assert all(one.place.offset > model.trimmed for one in live), f"{self.keys[way]} kept one it said it lost"


def test_an_inbox_is_what_it_promises(redis: str) -> None:
    InboxMachine.kept = open_kept(redis, inbox_max_messages=_MOST, inbox_max_bytes=_MOST_BYTES)
    run_state_machine_as_test(InboxMachine, settings=settings(max_examples=150, stateful_step_count=30, deadline=None))
