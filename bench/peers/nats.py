"""nats-server, with its websocket and nothing else switched on; installed from Debian as root when it is missing."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.provision import install, services_stay_down

_CONFIG = """
listen: "127.0.0.1:{port}"
websocket {{ listen: "127.0.0.1:{websocket_port}", no_tls: true, compression: false }}
"""
_VERSION_S = 10


def provide() -> str:
    """Give nats-server's version; "" with a line that says why when there is none and none can be installed."""
    if shutil.which("nats-server") is None and os.geteuid() == 0 and shutil.which("apt-get") is not None:
        print("» apt-get install nats-server", flush=True)
        try:
            with services_stay_down():
                install(["nats-server"])
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failed:
            print(f"could not install nats-server: {failed}")
    if shutil.which("nats-server") is None:
        print("no nats-server: burst_vs_nats is left out. On Debian, as root: apt-get install nats-server")
        return ""
    told = subprocess.run(["nats-server", "--version"], check=True, capture_output=True, text=True, timeout=_VERSION_S)
    return told.stdout.strip().rpartition(" v")[2]


def command(home: Path, port: int, websocket_port: int) -> list[str]:
    """Write a configuration into *home*; give the command that serves it."""
    config = home / "nats.conf"
    config.write_text(_CONFIG.format(port=port, websocket_port=websocket_port), encoding="utf-8")
    return ["nats-server", "-c", str(config)]
