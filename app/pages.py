"""The page and the API reference: files that `make page` builds into app/static.  Refuses to render anything."""

from pathlib import Path

from flask import Response, send_from_directory
from werkzeug.exceptions import NotFound, ServiceUnavailable

from app.routes import Answer, Route

_TAG = "page"
_HTML = "text/html; charset=utf-8"
STATIC = Path(__file__).parent / "static"


class Pages:
    """The endpoints; *folder* holds index.html, docs.html, client.js and assets/."""

    def __init__(self, folder: Path, flower_url: str) -> None:
        self._folder = folder
        self._flower_url = flower_url

    def index(self) -> Response:
        """Serve the page."""
        return self._page("index.html")

    def docs(self) -> Response:
        """Serve the API reference; the page shows it where there is no file of its own."""
        return self._page("docs.html" if (self._folder / "docs.html").is_file() else "index.html")

    def asset(self, name: str) -> Response:
        """Serve a part of them; names carry a hash of their content, so they may be kept."""
        return send_from_directory(self._folder / "assets", name, max_age=31_536_000)

    def client(self) -> Response:
        """Serve the browser client for a script tag, under a name that stays."""
        return send_from_directory(self._folder, "client.js", max_age=0)

    def flower(self) -> Response:
        """Lead to the task monitor, whose address a page that is only files cannot know."""
        return Response(status=302, headers={"Location": self._flower_url})

    def _page(self, name: str) -> Response:
        try:
            response = send_from_directory(self._folder, name, max_age=0)
        except NotFound:
            raise ServiceUnavailable("The page is not built: run make page.") from None
        response.content_type = _HTML
        return response

    def routes(self) -> tuple[Route, ...]:
        """List the endpoints."""
        html = {200: Answer("HTML.", media_type=_HTML)}
        file = {200: Answer("The file.", media_type="*/*")}
        return (
            Route("GET", "/", self.index, "The page", _TAG, html, (503,), open=True),
            Route("GET", "/docs", self.docs, "API reference", _TAG, html, (503,), open=True),
            Route(
                "GET",
                "/flower",
                self.flower,
                "Leads to the task monitor",
                _TAG,
                {302: Answer("Its address is in Location.", media_type="*/*")},
                open=True,
            ),
            Route("GET", "/client.js", self.client, "The browser client", _TAG, file, (404,), open=True),
            Route("GET", "/assets/<path:name>", self.asset, "Parts of the page", _TAG, file, (404,), open=True),
        )
