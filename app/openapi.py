"""/openapi.json: OpenAPI 3.1 from the route table and the pydantic models.  Nothing in it is written twice."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, cast

import orjson
from flask import Response
from pydantic import BaseModel, Field
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from app.answers import JSON, speaks_im
from app.im import Envelope
from app.problems import PROBLEM_JSON
from app.routes import Answer, Parameter, Route

_REF = "#/components/schemas/{model}"
_PATH_PART = re.compile(r"<(?:\w+:)?(\w+)>")
PATH = "/openapi.json"


class FieldError(BaseModel):
    """One field and what is wrong with it."""

    field: str = Field(description="A path, as in keys[3]; empty for the body as a whole.")
    message: str


class ProblemAnswer(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError]


class OpenApi:
    """The document over *routes*, made once."""

    def __init__(self, routes: Sequence[Route], version: str) -> None:
        own = Route(
            "GET", PATH, self.serve, "This document", "page", {200: Answer("OpenAPI 3.1.", media_type=JSON)}, open=True
        )
        self.all_routes = (*routes, own)
        self._text = orjson.dumps(document(self.all_routes, version))

    def serve(self) -> Response:
        """Give the document."""
        return Response(self._text, content_type=JSON)


def openapi_path(rule: str) -> str:
    """Write Flask's *rule* as OpenAPI does."""
    return _PATH_PART.sub(r"{\1}", rule)


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """Describe *routes*."""
    schemas = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(openapi_path(route.path), {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cloudpush",
            "version": version,
            "description": "One REST call, and the right browsers get the message.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _schemas(routes: Sequence[Route]) -> dict[str, Any]:
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (ProblemAnswer, "serialization"),
        (Envelope, "serialization"),
    ]
    for route in routes:
        if route.body is not None:
            models.append((route.body, "validation"))
        models += [(answer.model, "serialization") for answer in route.answers.values() if answer.model is not None]
    _, schemas = models_json_schema(models, ref_template=_REF)
    return cast(dict[str, Any], schemas["$defs"])


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "tags": [route.tag],
        # An empty requirement: without CLOUDPUSH_API_KEY nobody needs one.
        "security": [{}] if route.open else [{"bearer": []}, {"apiKey": []}, {}],
        "parameters": [
            *(_path_parameter(name) for name in _PATH_PART.findall(route.path)),
            *map(_query_parameter, route.parameters),
        ],
        "responses": {
            **{str(status): _answer(answer) for status, answer in route.answers.items()},
            **{str(status): _error(status, route) for status in route.errors},
        },
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": _schema(route.body)}}}
    return operation


def _operation_id(route: Route) -> str:
    words = re.findall(r"\w+", _PATH_PART.sub(r"\1", route.path)) or ["index"]
    return "_".join([route.method.lower(), *words])


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _answer(answer: Answer) -> dict[str, Any]:
    schema = _schema(answer.model) if answer.model is not None else {}
    return {"description": answer.description, "content": {answer.media_type: {"schema": schema} if schema else {}}}


def _error(status: int, route: Route) -> dict[str, Any]:
    im = speaks_im(route.path)
    error: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {JSON if im else PROBLEM_JSON: {"schema": _schema(Envelope if im else ProblemAnswer)}},
    }
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        error["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return error


def _schema(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}
