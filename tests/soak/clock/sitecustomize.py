"""Makes the wall clock of one process jump: Python imports this file by its name when its directory is on PYTHONPATH.

SOAK_CLOCK names a file with an offset in seconds, looked at five times a second.  The monotonic clock stays as it is,
as it does when somebody sets the time.
"""

import os
import time

_EVERY_S = 0.2
_wall, _wall_ns, _steady = time.time, time.time_ns, time.monotonic
_path = os.environ.get("SOAK_CLOCK", "")
_known = [0.0, -1.0]  # offset in seconds; when it was read


def _offset() -> float:
    if _steady() - _known[1] > _EVERY_S:
        _known[1] = _steady()
        try:
            with open(_path, encoding="ascii") as written:
                _known[0] = float(written.read() or 0)
        except FileNotFoundError:
            _known[0] = 0.0
    return _known[0]


if _path:
    time.time = lambda: _wall() + _offset()
    time.time_ns = lambda: _wall_ns() + int(_offset() * 1e9)
