"""Installs what the tests need from outside Python: RabbitMQ, Redis and Chromium, on Debian, as root.

Refuses to start a system service (tests start private ones), and to guess on another system: it says what to install.
Only the standard library: it runs before anything else is there.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# Package → a path or command that shows it is there, and the setting that stands in for it.
_PARTS = {
    "rabbitmq-server": ("/usr/lib/rabbitmq/bin/rabbitmq-server", "RABBITMQ_URL"),
    "redis-server": ("redis-server", "REDIS_URL"),
    "chromium": ("chromium", None),
}
_POLICY = Path("/usr/sbin/policy-rc.d")
_INSTALL_S = 1_200


def missing(environ: Mapping[str, str]) -> list[str]:
    """The packages that are neither there nor replaced by a setting."""
    return [
        package
        for package, (shown_by, setting) in _PARTS.items()
        if shutil.which(shown_by) is None and not (setting and environ.get(setting))
    ]


@contextmanager
def services_stay_down() -> Iterator[None]:
    """Tell Debian's packages not to start what they install; a policy that is there already stays."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


def install(packages: list[str]) -> None:
    """Install Debian packages; CalledProcessError or TimeoutExpired when apt-get does not."""
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    quietly = ["apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"]
    subprocess.run([*quietly, "update"], env=environ, check=True, timeout=_INSTALL_S)
    command = [*quietly, "install", "-y", "--no-install-recommends", *packages]
    subprocess.run(command, env=environ, check=True, timeout=_INSTALL_S, stdout=subprocess.DEVNULL)


def main() -> int:
    """Provide what is missing; 1 with one clear message when that is not possible here."""
    packages = missing(os.environ)
    if not packages:
        return 0
    command = "apt-get install --no-install-recommends " + " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        settings = [setting for package in packages if (setting := _PARTS[package][1])]
        instead = f", or set {' and '.join(settings)} to running ones" if settings else ""
        print(f"the tests need {', '.join(packages)}. On Debian, as root: {command}{instead}", file=sys.stderr)
        return 1
    print(f"» {command}", flush=True)
    try:
        with services_stay_down():
            install(packages)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failed:
        print(f"could not install {', '.join(packages)}: {failed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
