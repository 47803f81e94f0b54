"""The body of a batch call → where each of its pushes stands in it, checked, with none of them built.

The whole of it must be JSON before anything of it is promised, so it is gone through twice: here, piece by piece, and
again when each piece is read (:func:`value_of`).  Only one piece is built at a time, and what is kept of the rest is
the bytes and two numbers a push.  A piece that is JSON but no push spoils only itself; a piece that is too large or
nested too deeply is not looked into, only skipped.

Refuses to know what a push is (app/requests.py), and to take any other form than ``{"pushes": [...]}``.
"""

import re
from typing import Any, NamedTuple

import orjson
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from app.body import MAX_DEPTH, NotJson, parse
from proto.errors import FieldProblem, InvalidPush

_BLANK = rb"[ \t\n\r]*+"
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_NO_BRACKET = rb'[^"{}\[\]]*+(?:' + _STRING + rb'[^"{}\[\]]*+)*+'
_LEVELS = 8  # that the pattern sees at once; deeper ones are counted


def _nested(levels: int) -> bytes:
    inside = _NO_BRACKET
    for _ in range(levels - 1):
        inside = _NO_BRACKET + rb"(?:[\[{]" + inside + rb"[\]}]" + _NO_BRACKET + rb")*+"
    return rb"[\[{]" + inside + rb"[\]}]"


# Brackets need not match here: each piece is parsed by itself, and pieces that are JSON make a list that is.
_SCALAR = rb'[^ \t\n\r,"{}\[\]]++'
_PIECE = re.compile(
    _BLANK + rb"(" + _nested(_LEVELS) + rb"|" + _STRING + rb"|" + _SCALAR + rb")" + _BLANK + rb"([,\]])", re.DOTALL
)
_TURN = re.compile(
    _NO_BRACKET + rb"(?:" + _nested(_LEVELS) + _NO_BRACKET + rb")*+(?:([\[{]++)|([\]}]++))", re.DOTALL
)  # past what is closed again, to brackets that stay open or that close them
_AFTER = re.compile(_BLANK + rb"([,\]])")
_INDENT = re.compile(_BLANK)
_HEAD = re.compile(_BLANK + rb"\{" + _BLANK + rb'"pushes"' + _BLANK + rb":" + _BLANK + rb"\[")
_EMPTY = re.compile(_BLANK + rb"\]")
_TAIL = re.compile(_BLANK + rb"\}" + _BLANK)
_LONG_NUMBER = re.compile(rb"[0-9]{19}")  # every integer beyond 64 bits has one
_FORM = 'must be {"pushes": [...]} and nothing else'


class Piece(NamedTuple):
    """One member of the list; *flaw* says why it was not looked into."""

    start: int
    end: int
    flaw: HTTPException | None


def split(raw: bytes, *, most: int, max_piece_bytes: int) -> list[Piece]:
    """Give the pushes of *raw*, 1 to *most* of them.

    Raises NotJson, unless all that is small enough to be a push is JSON, and InvalidPush for JSON of another form.
    """
    if (head := _HEAD.match(raw)) is None:
        raise _misshapen(raw, max_piece_bytes)
    pieces: list[Piece] = []
    if (empty := _EMPTY.match(raw, head.end())) is not None:
        end = empty.end()
    else:
        pieces, end = _pieces(raw, head.end(), most, max_piece_bytes)
    if _TAIL.fullmatch(raw, end) is None:
        raise _misshapen(raw, max_piece_bytes)
    if not pieces:
        raise InvalidPush([FieldProblem("pushes", "must not be empty")])
    return pieces


def value_of(raw: bytes) -> Any:
    """Build the value of a piece, which is JSON; raise NotJson if it names a member twice.

    What orjson would build is another value when a name occurs twice (each lost member takes two quotes along, and
    writing adds none unless an escape meant one), or an integer is beyond 64 bits: those go app/body.py's long way.
    """
    value = orjson.loads(raw)
    if (
        raw.count(b'"') == orjson.dumps(value).count(b'"')
        and b"\\u0022" not in raw
        and _LONG_NUMBER.search(raw) is None
    ):
        return value
    try:
        return parse(raw)
    except NotJson as error:
        raise NotJson(f"The push {str(error.description).removeprefix('The body ')}", error.problems) from error


def _pieces(raw: bytes, at: int, most: int, max_bytes: int) -> tuple[list[Piece], int]:
    """Go through the list whose first member begins at *at*; gives its end, too."""
    pieces: list[Piece] = []
    while True:
        if len(pieces) == most:
            raise InvalidPush([FieldProblem("pushes", f"holds too many: a batch has at most {most} pushes")])
        depth = 0
        if (found := _PIECE.match(raw, at)) is not None:
            start, end = found.span(1)
            mark = found[2]
        else:
            start = _INDENT.match(raw, at).end()  # type: ignore[union-attr]  # it matches anything
            end, depth = _deep_end(raw, start)
            if (found := _AFTER.match(raw, end)) is None:
                raise _broken(len(pieces), "a comma or ] is missing")
            mark = found[1]
        flaw = _flaw(end - start, depth, max_bytes)
        if flaw is None:
            try:
                orjson.loads(raw[start:end])
            except orjson.JSONDecodeError as error:
                raise _broken(len(pieces), str(error)) from error
        pieces.append(Piece(start, end, flaw))
        at = found.end()
        if mark == b"]":
            return pieces, at


def _deep_end(raw: bytes, start: int) -> tuple[int, int]:
    """Find the end of what begins with a bracket at *start*, and how deep it goes, by counting."""
    depth = deepest = 0
    at = start
    if raw[at : at + 1] not in (b"[", b"{"):
        return at, 0
    while (found := _TURN.match(raw, at)) is not None:
        at = found.end()
        if found[1]:
            depth += len(found[1])
            deepest = max(deepest, depth)
        elif (closed := len(found[2])) < depth:
            depth -= closed
        else:
            return found.start(2) + depth, deepest
    raise NotJson("The body is not JSON: it ends within a push.")


def _flaw(size: int, depth: int, max_bytes: int) -> HTTPException | None:
    if size > max_bytes:
        return RequestEntityTooLarge(f"A push must be at most {max_bytes} bytes as it is sent, not {size}.")
    return NotJson("The push is nested too deeply.") if depth > MAX_DEPTH else None


def _broken(index: int, why: str) -> NotJson:
    return NotJson(f"The body is not JSON: pushes[{index}]: {why}.")


def _misshapen(raw: bytes, max_bytes: int) -> Exception:
    """Say what is wrong with a body that is no batch; raises NotJson if that is it."""
    if len(raw) > max_bytes:  # more than is built at a time
        return InvalidPush([FieldProblem("", _FORM)])
    value = parse(raw)
    if not isinstance(value, dict):
        return InvalidPush([FieldProblem("", "must be a JSON object")])
    problems = [FieldProblem(name[:64], "is not a known field") for name in value if name != "pushes"][:100]
    if "pushes" not in value:
        problems.insert(0, FieldProblem("pushes", "is required"))
    elif not isinstance(value["pushes"], list):
        problems.insert(0, FieldProblem("pushes", "must be a list"))
    return InvalidPush(problems or [FieldProblem("", _FORM)])
