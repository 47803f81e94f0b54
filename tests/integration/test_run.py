"""`make run` with the real tiers, on the embedded broker and store."""

from pathlib import Path

import requests

from cloudpush import Client
from tests.parts.launch import Launch


def test_ready_means_that_a_push_is_taken_and_a_restart_finds_its_data(tmp_path: Path) -> None:
    launch = Launch(tmp_path)
    try:
        for _ in range(2):
            launch.start()
            answer = requests.post(f"{launch.url}/v1/pushes", json={"all": True, "msg": "hello"}, timeout=5)
            assert answer.status_code == 202
            with Client(launch.url) as client:
                assert client.best_node().url.startswith("http://127.0.0.1:")
            launch.child.terminate()
            assert launch.child.returncode == 0
            launch.child.log.unlink()
    finally:
        launch.child.terminate()
    assert launch.left() == {}
    assert any((tmp_path / "data" / "valkey" / "appendonlydir").iterdir())
