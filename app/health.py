"""Is this process alive, can it take pushes, what has it counted.  Refuses to ask anyone: it tells what is known."""

from collections.abc import Callable

from flask import Response, request
from pydantic import BaseModel

from app.answers import answer, enveloped
from app.im import Envelope
from app.intake import State
from app.metrics import Metrics
from app.problems import RETRY_AFTER_S
from app.routes import Answer, Route
from proto.exposition import PLAIN

_TAG = "health"


class Live(BaseModel):
    """The process serves requests."""

    status: str = "ok"


class Ready(BaseModel):
    """Whether a push would be accepted: *status* is ``ok`` or ``unavailable``."""

    status: str
    broker: str
    store: str


class Health:
    """The endpoints."""

    def __init__(self, *, broker: Callable[[], State], store_is_up: Callable[[], bool], metrics: Metrics) -> None:
        self._broker = broker
        self._store_is_up = store_is_up
        self._metrics = metrics

    def live(self) -> Response:
        """Answer at all."""
        return answer(Live())

    def ready(self) -> Response:
        """Tell whether a push would be accepted."""
        state = self._state()
        return self._with_retry(answer(state, 200 if state.status == "ok" else 503))

    def im_health(self) -> Response:
        """Tell the same in im-cloud's envelope."""
        state = self._state()
        data = state.model_dump()
        if state.status == "ok":
            return enveloped(data)
        return self._with_retry(enveloped(data, code=503, msg="a push would not be accepted now", status=503))

    def metrics(self) -> Response:
        """Give the metrics, with exemplars to who accepts OpenMetrics."""
        text, content_type = self._metrics.text(request.headers.get("Accept"))
        return Response(text, content_type=content_type)

    def _state(self) -> Ready:
        broker, store = self._broker(), self._store_is_up()
        ready = broker is State.UP and store
        return Ready(
            status="ok" if ready else "unavailable", broker=broker.value, store="up" if store else State.DOWN.value
        )

    def _with_retry(self, response: Response) -> Response:
        if response.status_code != 200:  # noqa: PLR2004
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return response

    def routes(self) -> tuple[Route, ...]:
        """List the endpoints."""
        ready = {200: Answer("It can.", Ready), 503: Answer("It cannot now.", Ready)}
        im = {200: Answer("It can.", Envelope), 503: Answer("It cannot now.", Envelope)}
        metrics = {200: Answer("Prometheus' text; OpenMetrics to who accepts it.", media_type=PLAIN)}
        return (
            Route("GET", "/health", self.im_health, "Readiness, for im-cloud's callers", _TAG, im, open=True),
            Route("GET", "/health/live", self.live, "Liveness", _TAG, {200: Answer("Alive.", Live)}, open=True),
            Route("GET", "/health/ready", self.ready, "Would a push be accepted?", _TAG, ready, open=True),
            Route("GET", "/metrics", self.metrics, "Metrics", _TAG, metrics, open=True),
        )
