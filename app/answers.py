"""JSON answers: plain for /v1, in im-cloud's envelope for /im and /health."""

from typing import Any

import orjson
from flask import Response
from pydantic import BaseModel

JSON = "application/json"


def answer(value: BaseModel | Any, status: int = 200) -> Response:
    """Answer with *value*."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return Response(orjson.dumps(value), status=status, content_type=JSON)


def enveloped(data: Any, *, code: int = 0, msg: str = "ok", status: int = 200) -> Response:
    """Answer as im-cloud does: ``{"code", "msg", "data"}``; code 0 is success, else the HTTP status."""
    return answer({"code": code, "msg": msg, "data": data}, status)


def speaks_im(path: str) -> bool:
    """Tell whether callers of *path* expect the envelope."""
    return path in {"/health", "/im"} or path.startswith("/im/")
