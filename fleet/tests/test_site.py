"""A site's half: what its configuration may be, and what leaves it when something is wrong."""

import shutil
import threading
from pathlib import Path
from typing import Any

import prism_fl
import pytest
from fake_grid import SETTINGS, make_site

from prism_fleet.client_app import reply
from prism_fleet.envelope import NOTE, STYPE, VERSION, Reply, Request, digests
from prism_fleet.files import Busy, sole_user


def ask(config: dict[str, Any], payload: bytes | None = None) -> Reply:
    """Puts a setup request to a site."""
    if payload is None:
        payload = prism_fl.Server(SETTINGS, str(Path(config["state-dir"]).parent / "server")).request(0)
    request = Request("exchange", 0, payload, "n", prism_fl.__version__, digests(SETTINGS))
    return Reply.unpack(reply(request.pack(), config))


def test_a_site_answers_with_bytes_of_our_own_type(tmp_path: Path) -> None:
    config = make_site(tmp_path, 0)
    answer = ask(config)
    assert (answer.kind, answer.nonce, answer.reason) == ("answer", "n", "") and answer.payload
    assert STYPE == f"prism.bytes/{VERSION}"


def test_what_is_wrong_at_a_site_stays_in_its_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = make_site(tmp_path, 0)
    shutil.rmtree(config["data-dir"])
    answer = ask(config)
    assert answer == Reply("refused", "n", reason="the site cannot answer (UsageError); its own log says why")
    assert str(tmp_path) in caplog.text and "Traceback" not in caplog.text


def test_a_panic_is_told_to_nobody_but_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Panic(BaseException):
        pass

    def panic(*arguments: object) -> None:
        raise Panic("/secret/path")

    monkeypatch.setattr("prism_fl.Client", panic)
    answer = ask(make_site(tmp_path, 0))
    assert answer == Reply("refused", "n", reason="the site cannot answer (Panic); its own log says why")
    assert "/secret/path" in caplog.text and "Traceback" in caplog.text


def test_a_site_without_configuration_names_its_keys_in_its_log_only(caplog: pytest.LogCaptureFixture) -> None:
    request = Request("exchange", 0, b"x", "n", prism_fl.__version__, ())
    answer = Reply.unpack(reply(request.pack(), {"data-dir": "/images"}))
    assert answer.reason == "the site cannot answer (SiteError); its own log says why"
    assert "lacks settings, state-dir: flower-supernode --node-config" in caplog.text


def test_what_is_wrong_with_a_message_is_said_to_the_server(tmp_path: Path) -> None:
    config = make_site(tmp_path, 0)
    assert ask(config, b"damaged").reason.startswith("a message of moments cannot be used: it has 7 bytes")


def test_a_message_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    content = Request("exchange", 0, b"x", "n", prism_fl.__version__, ()).pack()
    content.config_records[NOTE]["version"] = 7
    answer = Reply.unpack(reply(content, make_site(tmp_path, 0)))
    assert answer.reason == f"the message has version 7, this app speaks {VERSION}: install the same prism-fleet"


def test_a_state_folder_serves_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_site(tmp_path, 0)
    monkeypatch.setattr("prism_fleet.client_app.LOCK_PATIENCE", 0.2)
    with sole_user(Path(config["state-dir"]), 0.0):
        assert ask(config).reason == "the site's state folder is in use by another process"
    assert ask(config).kind == "answer"


def test_a_state_folder_is_its_sites_alone(tmp_path: Path) -> None:
    made, given = tmp_path / "made", tmp_path / "given"
    given.mkdir()
    given.chmod(0o750)
    for folder, mode in ((made, 0o700), (given, 0o750)):
        with sole_user(folder, 0.0):
            assert folder.stat().st_mode & 0o777 == mode


def test_the_lock_waits_for_its_holder(tmp_path: Path) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with sole_user(tmp_path, 0.0):
            held.set()
            done.wait(0.3)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    with pytest.raises(Busy), sole_user(tmp_path, 0.0):
        pass
    with sole_user(tmp_path, 5.0):
        pass
    thread.join()
