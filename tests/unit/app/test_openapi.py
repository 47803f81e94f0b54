"""/openapi.json says everything that the app does, and nothing else."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.parts.web import make_web

_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}


@pytest.fixture
def document() -> dict[str, Any]:
    found: dict[str, Any] = make_web().get("/openapi.json").json
    return found


def test_every_route_is_documented_and_nothing_else_is(document: dict[str, Any]) -> None:
    served = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in make_web().app.url_map.iter_rules()
        for method in (rule.methods or set()) & _METHODS
    }
    documented = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert documented == served


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in re.findall(r"#/components/schemas/(\w+)", repr(document)):
        assert name in schemas


def test_every_error_answer_has_its_body(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        im = path.startswith("/im/") or path == "/health"
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and "health" not in path:
                    (media,) = answer["content"]
                    assert media == ("application/json" if im else "application/problem+json")
                    assert ("Retry-After" in answer.get("headers", {})) is (status in ("429", "503"))


def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


def test_a_push_is_documented_field_by_field(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    schema = document["components"]["schemas"]["PushRequest"]
    assert schema["required"] == ["msg"]
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {
        "keys", "mids", "rooms", "all", "server", "op", "msg", "ttl_s", "priority",
        "durable", "delay_s", "deliver_at", "request_id", "trace", "speed",
    }  # fmt: skip
    assert set(document["paths"]["/v1/pushes"]["post"]["responses"]) == {
        "202", "400", "401", "403", "409", "413", "415", "422", "429", "503",
    }  # fmt: skip


def test_answers_carry_the_security_headers() -> None:
    for path in ("/", "/v1/online", "/nothing", "/openapi.json"):
        headers = make_web().get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
        assert policy == {
            "default-src": "'self'",
            "connect-src": "'self' ws: wss: http: https:",
            "style-src": "'self' 'unsafe-inline'",
            "img-src": "'self' data:",
            "frame-ancestors": "'none'",
        }


def test_without_a_built_page_the_answer_says_how_to_build_it() -> None:
    for path in ("/", "/docs"):
        response = make_web().get(path)
        assert (response.status_code, response.json["detail"]) == (503, "The page is not built: run make page.")


def test_the_task_monitor_is_found_from_here() -> None:
    response = make_web(flower_url="http://monitor:5555").get("/flower")
    assert (response.status_code, response.headers["Location"]) == (302, "http://monitor:5555")


def test_a_built_page_is_served_and_nothing_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    (folder / "index.html").write_text("<p>page")
    (folder / "docs.html").write_text("<p>docs")
    (folder / "assets" / "main-1a2b.js").write_text("1")
    web = make_web(folder)
    assert (web.get("/").text, web.get("/docs").text) == ("<p>page", "<p>docs")
    assert web.get("/").content_type == "text/html; charset=utf-8"
    asset = web.get("/assets/main-1a2b.js")
    assert (asset.text, asset.cache_control.max_age) == ("1", 31_536_000)
    for path in (
        "/assets/../index.html",
        "/assets/../../secret",
        "/assets/%2e%2e/index.html",
        "/assets/none.js",
        "/static/x",
    ):
        assert web.get(path).status_code == 404
