"""A private RabbitMQ for tests: own node name, ports, cookie and data, beside any other on the machine.

Refuses to listen beyond loopback, and to leave an Erlang process (epmd too) behind.
"""

import os
import subprocess
from pathlib import Path

import amqp

from tests.parts.process import Child, free_port

_SCRIPTS = Path("/usr/lib/rabbitmq/bin")
_READY_S = 60.0
_CONTROL_S = 30.0

_CONF = """\
listeners.tcp.default = 127.0.0.1:{port}
loopback_users.guest = true
log.console = false
disk_free_limit.absolute = 50MB
"""


class RabbitMQ:
    """One RabbitMQ node with a data directory of its own, which a restart finds again."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self.node = f"cloudpush-{self.port}@localhost"
        self._env = _environment(home, self.node, self.port)
        self.epmd_port = int(self._env["ERL_EPMD_PORT"])
        # Erlang would start an epmd that outlives it; with one of ours on the port it starts none.
        self._epmd = Child(
            "epmd",
            ["epmd", "-address", "127.0.0.1", "-port", str(self.epmd_port)],
            log=home / "epmd.log",
            env=self._env,
        )
        self.child = Child("rabbitmq", [str(_SCRIPTS / "rabbitmq-server")], log=home / "rabbitmq.out", env=self._env)

    @property
    def url(self) -> str:
        """The default virtual host."""
        return self.url_of("/")

    def url_of(self, vhost: str) -> str:
        """The URL of a virtual host."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{vhost}"

    def start(self) -> None:
        """Start it, on what data there is, and wait until it takes connections."""
        if not self._epmd.running:
            self._epmd.start()
        self.child.start()
        self.child.until(self.answers, _READY_S, "an AMQP handshake")

    def stop(self) -> None:
        """End it gracefully; data stays."""
        self.child.terminate(timeout_s=_CONTROL_S)

    def kill(self) -> None:
        """End it as a crash would; data stays."""
        self.child.kill()

    def close(self) -> None:
        """End it and all that belongs to it."""
        self.child.kill()
        self._epmd.kill()

    def add_vhost(self, name: str) -> str:
        """Make a virtual host that the guest user owns, and give its URL."""
        vhost, any_name = f'<<"{name}">>', '<<".*">>'
        self.evaluate(
            f'rabbit_vhost:add({vhost}, <<"tests">>), rabbit_auth_backend_internal:set_permissions('
            f'<<"guest">>, {vhost}, {any_name}, {any_name}, {any_name}, <<"tests">>).'
        )
        return self.url_of(name)

    def evaluate(self, expression: str) -> str:
        """Run an Erlang expression on the node, in one start of rabbitmqctl (each takes a second)."""
        argv = [str(_SCRIPTS / "rabbitmqctl"), "--node", self.node, "eval", expression]
        done = subprocess.run(argv, env=self._env, capture_output=True, text=True, timeout=_CONTROL_S, check=False)
        assert done.returncode == 0, f"rabbitmqctl: {done.stdout}{done.stderr}"
        return done.stdout

    def answers(self) -> bool:
        """Whether it takes an AMQP connection now."""
        return handshakes(f"127.0.0.1:{self.port}")


def handshakes(host: str) -> bool:
    """Whether an AMQP connection to *host* opens now."""
    connection = amqp.Connection(host=host, connect_timeout=2, read_timeout=2, write_timeout=2)
    try:
        connection.connect()
    except (OSError, amqp.AMQPError):
        return False
    else:
        connection.close()
        return True


def _environment(home: Path, node: str, port: int) -> dict[str, str]:
    for folder in ("home", "data", "log"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    conf = home / "rabbitmq.conf"
    conf.write_text(_CONF.format(port=port), encoding="utf-8")
    (home / "enabled_plugins").write_text("[].\n", encoding="utf-8")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
    return inherited | {
        "HOME": str(home / "home"),  # the Erlang cookie is made there
        "RABBITMQ_NODENAME": node,
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_CONFIG_FILE": str(conf),
        "RABBITMQ_CONF_ENV_FILE": str(home / "none"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_PORT": str(free_port()),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        # Without it a shell stays between us and Erlang, and a kill would hit only the shell.
        "RUNNING_UNDER_SYSTEMD": "true",
    }
