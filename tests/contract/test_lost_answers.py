"""An answer that is lost on its way: the store has done it, its caller cannot know, and nothing is done twice."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from proto.errors import StoreUnavailable
from store.receipts import Mark, Owner, State, Step
from tests.parts.kept import Kept, open_kept

pytestmark = pytest.mark.services


class _Way:
    """A way to a Redis on which the next answer can be made to get lost, and the connection with it."""

    def __init__(self, url: str) -> None:
        self._there = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self.lost = 0
        self._lose = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_the_next_answer(self) -> None:
        self._lose.set()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(self._there)
                for one, other, answers in ((here, there, False), (there, here, True)):
                    threading.Thread(target=self._pump, args=(one, other, answers), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if answers and self._lose.is_set():
                    self._lose.clear()
                    self.lost += 1
                    break
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def way(redis: str) -> Iterator[_Way]:
    made = _Way(redis)
    yield made
    made.close()


@pytest.fixture
def kept(way: _Way) -> Kept:
    return open_kept(way.url)


def test_an_append_whose_answer_was_lost_is_an_error_and_is_there_once(kept: Kept, way: _Way) -> None:
    kept.append("a", "p1")
    way.lose_the_next_answer()
    with pytest.raises(StoreUnavailable):
        kept.append("a", "p2")
    assert way.lost == 1
    assert [message.push_id for message in kept.inbox.read({"a": 0}, 9)["a"].messages] == ["p1", "p2"]
    assert kept.append("a", "p2", again=True).place.offset == 2


def test_appends_to_many_keys_whose_answers_were_lost_are_there_once_each(kept: Kept, way: _Way) -> None:
    keys = [f"k{number}" for number in range(20)]
    message = kept.push("p1", "a").message
    kept.append("a", "p0")
    way.lose_the_next_answer()
    with pytest.raises(StoreUnavailable):
        kept.run(*(lambda batch, key=key: kept.inbox.append(batch, key, "p1", message, 1_000) for key in keys))
    pages = kept.inbox.read(dict.fromkeys(keys, 0), 9)
    assert {key: [one.offset for one in page.messages] for key, page in pages.items()} == {key: [1] for key in keys}


def test_counts_whose_answer_was_lost_are_sent_again_and_count_once(kept: Kept, way: _Way) -> None:
    push = kept.push("p1", "a")
    kept.create(push)
    kept.receipts.dispatch(push, 1)
    step, mark = Step("a", State.EMITTED, 2, sessions=3), Mark("n1", 1)
    kept.advance("p1", Owner.CLOUD, Step("a", State.EMITTED, 2), mark=Mark("n0", 1))
    way.lose_the_next_answer()
    with pytest.raises(StoreUnavailable):
        kept.advance("p1", Owner.CLOUD, step, mark=mark)
    assert kept.receipt("p1").keys["a"].sessions == 3
    assert kept.advance("p1", Owner.CLOUD, step, mark=mark) == [1]
    assert kept.receipt("p1").keys["a"].sessions == 3


def test_a_claim_whose_answer_was_lost_is_taken_over_later_and_stands_for_the_same_push(way: _Way) -> None:
    kept = open_kept(way.url, takeover_s=0.1)
    kept.requests.claim("r0", "d", "p0")
    way.lose_the_next_answer()
    with pytest.raises(StoreUnavailable):
        kept.requests.claim("r1", "d", "p1")
    kept.wait_ms(kept.now_ms() + 100)
    again = kept.requests.claim("r1", "d", "p2")
    assert (again.push_id, again.again) == ("p1", True)
