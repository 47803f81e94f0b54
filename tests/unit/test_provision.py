"""What the tests' own preparation installs, and what it leaves alone."""

from pathlib import Path

import pytest

from tests import provision


def test_only_what_is_missing_and_not_given_by_a_setting_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/chromium" if name == "chromium" else None)
    assert provision.missing({}) == ["rabbitmq-server", "redis-server"]
    assert provision.missing({"RABBITMQ_URL": "amqp://elsewhere"}) == ["redis-server"]
    assert provision.missing({"RABBITMQ_URL": "", "REDIS_URL": "redis://elsewhere"}) == ["rabbitmq-server"]


def test_installing_starts_no_service_and_leaves_no_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(provision, "_POLICY", policy)
    with provision.services_stay_down():
        assert policy.read_text(encoding="utf-8").endswith("exit 101\n")
        assert policy.stat().st_mode & 0o111
    assert not policy.exists()


def test_a_policy_of_the_machines_own_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("its own", encoding="utf-8")
    monkeypatch.setattr(provision, "_POLICY", policy)
    with provision.services_stay_down():
        assert policy.read_text(encoding="utf-8") == "its own"
    assert policy.read_text(encoding="utf-8") == "its own"


def test_without_root_it_says_exactly_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert provision.main() == 1
    told = capsys.readouterr().err
    assert "apt-get install --no-install-recommends" in told
    assert "chromium" in told
