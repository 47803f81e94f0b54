"""Commands and scripts in one round trip, whether or not the server knows the scripts yet.

A script is called by its digest.  A server that was restarted, or that took over, has forgotten all scripts: it refuses
those calls by name, they are sent again with their text loaded, in the same order; what else was in the round trip has
been done and is not repeated.  Refuses to be a transaction: another client's commands may run in between.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import redis
from redis.exceptions import NoScriptError

from store.connection import answering, error_of

Argument = str | bytes | int | float


class Script:
    """A Lua script and its digest."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Batch:
    """Collects calls; :meth:`run` sends them and gives their answers in order."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._calls: list[tuple[Argument, ...]] = []
        self._scripts: dict[str, Script] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def command(self, *words: Argument) -> int:
        """Add one command; gives its place among the answers."""
        self._calls.append(words)
        return len(self._calls) - 1

    def script(self, script: Script, keys: Sequence[str], arguments: Iterable[Argument]) -> int:
        """Add one call of *script*; gives its place among the answers."""
        self._scripts[script.sha] = script
        return self.command("EVALSHA", script.sha, len(keys), *keys, *arguments)

    def run(self) -> list[Any]:
        """Send all; raises StoreUnavailable when the server cannot serve, RedisError for the first that failed.

        Answers are as the wire has them: no parsing beyond lists, texts and integers.
        """
        answers = self.outcomes()
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def outcomes(self) -> list[Any]:
        """As :meth:`run`, but a call that failed is answered by its error: what others may share the round trip.

        Raises StoreUnavailable when there are no answers; which calls were done is then not known.
        """
        if not self._calls:
            return []
        with answering():
            answers = self._send(self._calls)
            late = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if late:
                for script in self._scripts.values():
                    self._client.script_load(script.text)
                for place, answer in zip(late, self._send([self._calls[place] for place in late]), strict=True):
                    answers[place] = answer
        return [error_of(answer) if isinstance(answer, redis.RedisError) else answer for answer in answers]

    def _send(self, calls: Sequence[tuple[Argument, ...]]) -> list[Any]:
        if len(calls) == 1:  # a pipeline of one would cost twice as much
            try:
                return [self._client.execute_command(*calls[0])]  # type: ignore[no-untyped-call]
            except redis.ResponseError as error:
                return [error]
        pipe = self._client.pipeline(transaction=False)
        for words in calls:
            pipe.execute_command(*words)  # type: ignore[no-untyped-call]
        return pipe.execute(raise_on_error=False)
