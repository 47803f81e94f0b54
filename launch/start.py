"""`make run`: starts everything in the foreground, says ``ready:`` once a push can be delivered, and ends it all.

Exit codes: 0 after Ctrl-C, SIGTERM or SIGHUP (a closed terminal); 1 when a part could not start or ended by itself;
2 for a setting that makes no sense.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from honcho.environ import expand_processes, parse_procfile

from launch.embedded import EmbeddedValkey, ValkeyFailed
from launch.flaws import flaws
from launch.foreman import Foreman, let_output_go, on_stop
from launch.reach import ReachSettings
from launch.ready import Watch
from launch.settings import ROOT, LaunchSettings

_LOOK_S = 0.5
VALKEY = "valkey"
_UNREAD = "nobody reads the output any more, so everything was stopped"


class _Unread(Exception):
    """The output went to nobody."""


def main() -> int:
    """Run until asked to stop; gives the exit code."""
    wrong = [*flaws(LaunchSettings), *flaws(ReachSettings)]
    if not wrong:
        settings = LaunchSettings()
        if not (ROOT / settings.procfile).is_file():
            wrong = [f"CLOUDPUSH_PROCFILE: there is no file {ROOT / settings.procfile}"]
    if wrong:
        return _fail("nothing was started, because of the settings:\n" + "\n".join(f"  {one}" for one in wrong), code=2)
    busy = [listener for listener in settings.listeners() if not listener.is_free()]
    if busy:
        lines = [f"  port {one.port} ({one.part}): free it, or set {one.setting} to another port" for one in busy]
        return _fail("in use already, so nothing was started:\n" + "\n".join(lines))
    on_stop(_interrupt)
    try:
        _say_who_may_come(settings, ReachSettings())
        with _valkey(settings) as valkey:
            return _run(settings, valkey)
    except ValkeyFailed as failed:
        return _fail(str(failed))
    except _Unread:
        return _fail(_UNREAD)
    except KeyboardInterrupt:
        return 0


def _run(settings: LaunchSettings, valkey: EmbeddedValkey | None) -> int:
    gave_up: list[str] = []
    over = threading.Event()

    def give_up(awaited: str) -> None:
        gave_up.append(awaited)
        foreman.ask_to_stop()

    def started() -> None:
        watch.start()
        if valkey is not None:
            threading.Thread(target=_watch_valkey, args=(valkey, foreman, over), daemon=True).start()

    foreman = Foreman(started)
    watch = Watch(settings, foreman.say, give_up)
    procfile = parse_procfile((ROOT / settings.procfile).read_text(encoding="utf-8"))
    environ = child_environ(settings, valkey)
    for process in expand_processes(procfile.processes, concurrency={"cloud": settings.nodes}, env=environ):
        foreman.add_process(process.name, process.cmd, env=process.env, cwd=str(ROOT))
    try:
        foreman.loop()
    finally:
        watch.stop()
        over.set()
    if foreman.ended:
        how = ", ".join(f"{name} (exit {code})" for name, code in foreman.ended.items())
        return _fail(f"ended by itself, so everything was stopped: {how}")
    if foreman.unread:
        return _fail(_UNREAD)
    if gave_up:
        return _fail(f"not ready within {settings.ready_s:g} s, so everything was stopped: {gave_up[0]}")
    return 0


@contextmanager
def _valkey(settings: LaunchSettings) -> Iterator[EmbeddedValkey | None]:
    if not settings.needs_valkey:
        yield None
        return
    valkey = EmbeddedValkey(settings.data_dir)
    try:
        _tell(f"» starting the embedded Valkey on {settings.data_dir}/")
        valkey.start()
        yield valkey
    finally:
        valkey.stop()


def _watch_valkey(valkey: EmbeddedValkey, foreman: Foreman, over: threading.Event) -> None:
    while not over.wait(_LOOK_S):
        if valkey.returncode is not None:
            foreman.stop_because(VALKEY, valkey.returncode)
            return


def child_environ(settings: LaunchSettings, valkey: EmbeddedValkey | None) -> dict[str, str]:
    """What the children see: this interpreter's programs first, and the broker and store that were chosen."""
    # An empty setting is an unset one here, and so it must be there.
    given = {name: value for name, value in os.environ.items() if value or not name.startswith("CLOUDPUSH_")}
    environ = given | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",
        "CLOUDPUSH_DRAIN_S": f"{settings.drain_s:g}",
        "CLOUDPUSH_FLOWER_PORT": str(settings.flower_port),
        "CLOUDPUSH_FLOWER_URL": f"http://localhost:{settings.flower_port}",
    }
    if valkey is not None and settings.broker_url is None:
        environ["RABBITMQ_URL"] = valkey.broker_url
    if valkey is not None and settings.redis_url is None:
        environ["REDIS_URL"] = valkey.store_url
    return environ


def _say_who_may_come(settings: LaunchSettings, reach: ReachSettings) -> None:
    open_to = []
    if settings.api_key is None:
        open_to.append("any caller may push (CLOUDPUSH_API_KEY is not set)")
    if settings.client_jwt_secret is None:
        open_to.append("any browser may connect under any key (CLOUDPUSH_CLIENT_JWT_SECRET is not set)")
    if open_to:
        _tell("!! ANONYMOUS: " + "; ".join(open_to))
        _tell(f"!! {reach.told()}")


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _tell(line: str) -> None:
    try:
        print(line, flush=True)
    except OSError as error:
        let_output_go()
        raise _Unread from error


def _fail(message: str, code: int = 1) -> int:
    with suppress(OSError):  # of a closed terminal; the code tells the rest
        print(f"cloudpush: {message}", file=sys.stderr, flush=True)
    return code
