"""What a route is.  One table of these makes both the Flask app (app/factory.py) and /openapi.json (app/openapi.py)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response
from pydantic import BaseModel
from werkzeug.routing import BaseConverter

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter; path parameters are found in the path."""

    name: str
    description: str
    schema: Schema
    required: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer: a JSON model, or another media type."""

    description: str
    model: type[BaseModel] | None = None
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path, what it takes, and everything that it may answer."""

    method: str
    path: str
    serve: Callable[..., Response]
    summary: str
    tag: str
    answers: Mapping[int, Answer]
    errors: tuple[int, ...] = ()
    body: type[BaseModel] | None = None
    body_types: tuple[str, ...] = ("application/json",)
    body_required: bool = True
    parameters: tuple[Parameter, ...] = ()
    path_descriptions: Mapping[str, str] = field(default_factory=dict)
    open: bool = False  # served without an API key


class AnyText(BaseConverter):
    """A path part that may hold slashes, at its start too: rooms are named ``live://1000``."""

    regex = ".+?"
    part_isolating = False


def register(app: Flask, routes: tuple[Route, ...]) -> None:
    """Serve *routes*."""
    app.url_map.converters["text"] = AnyText
    app.url_map.merge_slashes = False
    for route in routes:
        name = f"{route.method} {route.path}".replace(".", "_")
        app.add_url_rule(route.path, name, route.serve, methods=[route.method])
