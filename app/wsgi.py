"""Entry point of the logic tier: ``python -m app.wsgi``.  Reads settings, starts the threads, serves until SIGTERM.

Exit codes: 0 after SIGTERM or SIGINT, 2 when it cannot start as it is set up.  One process: its metrics are in one
place, and its one broker connection carries the pushes of all its threads.
"""

import gc
import ipaddress
import signal
import sys
import threading
from functools import partial

import structlog
from pydantic import ValidationError

from app.backlog_watch import make_backlog
from app.broker import Broker
from app.commit import Committer
from app.factory import Parts, create_app, is_heavy, is_quick
from app.forming import Forming, FormTask
from app.intake import Intake, State
from app.loop import Sorting
from app.metrics import Metrics
from app.publisher import Publisher, TaskWatch
from app.records import Records
from app.server import CannotListen, Server
from app.settings import WebSettings
from app.watch import StoreWatch
from proto import log as logs
from store.ages import Ages
from store.clock import StoreClock
from store.connection import connect
from store.directory import RedisDirectory
from store.registry import Registry
from store.settings import StoreSettings

EXIT_MISCONFIGURED = 2
_MAX_TASKS_IN_FLIGHT = 256
# A thread that validates a large batch lets the others in after so long, not after Python's 5 ms: each of them needs
# the interpreter several times a push.
_SWITCH_S = 0.0005

log = structlog.get_logger(__name__)


def main() -> int:
    """Run the logic tier; gives the exit code."""
    try:
        settings, store_settings = WebSettings(), StoreSettings()
    except ValidationError as error:
        return _misconfigured(str(error))
    if (flaw := bind_flaw(settings)) is not None:
        return _misconfigured(flaw)
    logs.configure("logic", level=settings.log_level)
    try:
        serve(settings, store_settings)
    except CannotListen as error:
        return _misconfigured(str(error))
    return 0


def bind_flaw(settings: WebSettings) -> str | None:
    """Say why the process must not listen where it is told to: without an API key it serves loopback only."""
    if settings.api_key is not None or _is_loopback(settings.web_host):
        return None
    return (
        f"CLOUDPUSH_WEB_HOST is {settings.web_host}, which others can reach, and there is no API key. "
        "Set CLOUDPUSH_API_KEY (16 characters or more), or CLOUDPUSH_WEB_HOST=127.0.0.1."
    )


def serve(settings: WebSettings, store_settings: StoreSettings) -> None:
    """Serve until SIGTERM or SIGINT; then answer what is in progress, and see every push confirmed or refused."""
    import celeryconfig
    from tasks.celery import app as celery_app

    client, clock, stopping = connect(store_settings), StoreClock(), threading.Event()
    registry = Registry(client, store_settings)
    watch = StoreWatch(partial(clock.ask, client), settings.store_watch_s)
    metrics = Metrics()
    committer, publisher = make_committer(
        settings, celery_app.amqp.as_task_v2, TaskWatch(metrics.task_pushes, metrics.confirm_seconds)
    )
    metrics.watch(
        inflight=lambda: publisher.in_flight,
        waiting=lambda: committer.waiting,
        broker_up=lambda: committer.state is State.UP,
        store_up=watch.is_up,
    )
    backlog, backlog_watch = make_backlog(settings, Ages(client, store_settings, clock), metrics)
    parts = Parts(
        committer=committer,
        directory=RedisDirectory(client, store_settings, registry),
        registry=registry,
        records=Records.on(client, store_settings, clock),
        store_is_up=watch.is_up,
        broker_state=lambda: committer.state,
        metrics=metrics,
        now_ms=clock.now_ms,
        check_load=backlog.check,
        broker_delays=celeryconfig.settings.on_rabbitmq,
        stopping=stopping,
    )
    server = Server(create_app(settings, parts), settings, Sorting(is_quick, is_heavy, committer.begin))
    metrics.add_gauge(
        "cloudpush_answers_held", "Answers kept back until the broker has confirmed their push.", lambda: server.held
    )

    def stop(*_: object) -> None:
        stopping.set()  # who waits for a receipt gets it as it is
        server.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    sys.setswitchinterval(_SWITCH_S)
    watch.start()
    backlog_watch.start()
    committer.start()
    gc.collect()
    gc.freeze()  # what stays for good need not be looked at in every collection
    log.info("serving", host=settings.web_host, port=server.port)
    server.run()
    committer.close(settings.shutdown_s)
    backlog_watch.stop(settings.shutdown_s)
    watch.stop(settings.shutdown_s)
    log.info("stopped")


def make_committer(
    settings: WebSettings, form_task: FormTask, watch: TaskWatch | None = None
) -> tuple[Committer, Publisher]:
    """Make the way to the broker that celeryconfig.py names; starts nothing."""
    intake = Intake(settings.max_waiting_pushes)
    publisher = Publisher(
        _broker(),
        intake,
        Forming(form_task).task_of,
        stall_s=settings.confirm_deadline_s,
        max_in_flight=_MAX_TASKS_IN_FLIGHT,
        watch=watch,
    )
    return Committer(intake, publisher), publisher


def _broker() -> Broker:
    import celeryconfig
    from app.embedded import EmbeddedBroker
    from app.rabbit import RabbitBroker

    declare = [celeryconfig.dead_queue, *celeryconfig.push_queues.values()]
    if celeryconfig.settings.on_rabbitmq:
        return RabbitBroker(celeryconfig.broker_url, declare, celeryconfig.broker_native_delayed_delivery_queue_type)
    return EmbeddedBroker(celeryconfig.broker_url, celeryconfig.broker_transport_options, declare)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _misconfigured(message: str) -> int:
    sys.stderr.write(f"cloudpush logic: {message}\n")
    return EXIT_MISCONFIGURED


if __name__ == "__main__":
    sys.exit(main())
