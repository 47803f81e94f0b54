"""``python -m launch``: ends without a traceback, too, by a Ctrl-C that comes while the starter is still imported."""

import signal
import sys


def main() -> int:
    """Run the starter; gives its exit code."""
    # Nothing is started yet, so a signal may end us as it ends any program.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from launch.start import main as start

    return start()


if __name__ == "__main__":
    sys.exit(main())
