"""HTTP requests of Engine.IO's polling by hand: each over a connection of its own, its answer read when asked for.

Refuses to follow, retry or decode anything.
"""

import http.client
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from typing import Any

WAIT_S = 5.0
SEPARATOR = "\x1e"


@dataclass(frozen=True)
class Answer:
    """One whole HTTP response."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        """The body."""
        return self.body.decode()

    @property
    def packets(self) -> list[str]:
        """The Engine.IO packets of a poll that was answered with 200."""
        assert self.status == http.HTTPStatus.OK, (self.status, self.text)
        return self.text.split(SEPARATOR)

    @property
    def refusal(self) -> tuple[int, Any]:
        """Status and JSON of a refusal."""
        assert self.headers.get_content_type() == "application/json", (self.status, self.text, self.headers.items())
        return self.status, json.loads(self.body)


class Request:
    """One HTTP request, sent over a connection of its own."""

    def __init__(self, port: int, method: str, query: str, body: bytes = b"", headers: Mapping[str, str] = {}) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        self._connection.putrequest(method, f"/socket.io/?{query}", skip_accept_encoding=True)
        framed = "Transfer-Encoding" in headers or not (body or method == "POST")
        lengths = {} if framed else {"Content-Length": str(len(body))}
        for name, value in (lengths | dict(headers)).items():
            self._connection.putheader(name, value)
        self._connection.endheaders()
        with suppress(ConnectionError):  # a node need not read what it refuses
            self._connection.send(body)

    def answer(self) -> Answer:
        """Wait for the response; TimeoutError when none comes."""
        response = self._connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        self._connection.close()
        return answer

    def head(self) -> tuple[int, Message]:
        """Wait for status and headers, for a response that has no end."""
        response = self._connection.getresponse()
        return response.status, response.headers

    def close(self) -> None:
        """Close the connection, answered or not."""
        self._connection.close()
