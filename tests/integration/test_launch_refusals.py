"""`make run` says in a line what stands in its way, before anything starts, and never shows a secret."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.reach import ReachSettings
from launch.settings import LaunchSettings
from launch.start import child_environ
from tests.integration.test_launch import with_stand_ins
from tests.parts.launch import Launch


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    refused = with_stand_ins(tmp_path)
    yield refused
    refused.child.terminate()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("CLOUDPUSH_API_KEY", "sesame", "CLOUDPUSH_API_KEY: must have at least 16 characters"),
        ("CLOUDPUSH_GRPC_TOKEN", "sesame", "CLOUDPUSH_GRPC_TOKEN: must have at least 16 characters"),
        ("CLOUDPUSH_CLIENT_JWT_SECRET", "sesame", "CLOUDPUSH_CLIENT_JWT_SECRET: must have at least 32 characters"),
        ("CLOUDPUSH_WEB_PORT", "sesame", "CLOUDPUSH_WEB_PORT: input should be a valid integer, unable to parse"),
        ("NODES", "0", "CLOUDPUSH_NODES or NODES: input should be greater than or equal to 1"),
        ("CLOUDPUSH_PROCFILE", "/nowhere", "CLOUDPUSH_PROCFILE: there is no file /nowhere"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(launch: Launch, variable: str, value: str, said: str) -> None:
    launch.env[variable] = value
    launch.child.start()
    assert launch.until_ended() == 2
    lines = launch.output.splitlines()
    assert said in lines[-1]
    assert len(lines) <= 2
    assert "sesame" not in launch.output
    assert not (launch.home / "data").exists()


def test_every_wrong_setting_is_named_at_once(launch: Launch) -> None:
    launch.env |= {"CLOUDPUSH_API_KEY": "sesame", "CLOUDPUSH_GRPC_TOKEN": "sesame", "NODES": "many"}
    launch.child.start()
    assert launch.until_ended() == 2
    named = [line.split(":")[0].strip() for line in launch.output.splitlines()[1:]]
    assert sorted(named) == ["CLOUDPUSH_API_KEY", "CLOUDPUSH_GRPC_TOKEN", "CLOUDPUSH_NODES or NODES"]


def test_a_place_that_keeps_no_data_is_named_with_its_setting(launch: Launch) -> None:
    plain = launch.home / "plain"
    plain.touch()
    for place in ("/proc/nope", str(plain)):
        launch.env["CLOUDPUSH_DATA_DIR"] = place
        launch.child.start()
        assert launch.until_ended() == 1
        last = launch.output.splitlines()[-1]
        assert last.startswith(f"cloudpush: no data can be kept in {place} (")
        assert last.endswith("): set CLOUDPUSH_DATA_DIR to a directory that can be written to")
        assert "Traceback" not in launch.output


def test_an_interrupt_while_the_starter_is_imported_shows_no_traceback(launch: Launch) -> None:
    launch.env["PYTHONPROFILEIMPORTTIME"] = "1"  # tells how far the imports are
    launch.child.start()
    launch.child.until(lambda: "| " in launch.output and "honcho" in launch.output, 20, "the import of honcho")
    os.kill(launch.child.pid, signal.SIGINT)
    assert launch.until_ended() in (0, -signal.SIGINT)
    assert "Traceback" not in launch.output


def test_what_others_can_reach_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ReachSettings().told() == "Everything listens on loopback only."
    monkeypatch.setenv("CLOUDPUSH_WEB_HOST", "0.0.0.0")  # noqa: S104 - only read
    monkeypatch.setenv("CLOUDPUSH_NODE_HOST", "::")
    assert ReachSettings().told() == (
        "Others can reach REST and the page on 0.0.0.0 (CLOUDPUSH_WEB_HOST); the nodes on :: (CLOUDPUSH_NODE_HOST)."
    )


def test_an_empty_setting_is_an_unset_one_for_the_parts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDPUSH_API_KEY", "")
    assert "CLOUDPUSH_API_KEY" not in child_environ(LaunchSettings(), None)
