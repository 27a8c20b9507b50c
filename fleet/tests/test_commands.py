"""The command `prism-fleet`, as far as it goes without a SuperLink."""

import contextlib
import errno
import ssl
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import prism_fl
import pytest
import tiny
from cryptography.hazmat.primitives.serialization import load_ssh_public_key, ssh
from fake_grid import SETTINGS, make_site

from prism_fleet import cli, demo
from prism_fleet.files import Busy, sole_user
from prism_fleet.loopback import LoopbackFleet
from prism_fleet.pictures import png, write_folder


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Runs the command in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["prism-fleet", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_a_dry_run_says_what_would_leave_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = make_site(tmp_path, 0)
    before = sorted(tmp_path.rglob("*"))
    assert command(monkeypatch, "dry-run", "--settings", site["settings"], "--data-dir", site["data-dir"]) == 0
    assert sorted(tmp_path.rglob("*")) == before
    page = capsys.readouterr().out
    rows = {line.split()[0]: line for line in page.splitlines() if line[:1].isalpha()}
    assert "once" in rows["subclasses"] and "at most 3 times" in rows["round"]
    assert "No differential privacy is agreed" in page


def test_a_dry_run_names_the_privacy_that_is_agreed(tmp_path: Path) -> None:
    from prism_fleet.dry_run import report

    site = make_site(tmp_path, 0)
    settings = tiny.settings(privacy={"epsilon": 100.0, "trust": "local"})
    page = report(settings, Path(site["data-dir"]))
    assert "Differential privacy is agreed: epsilon 100.0, trust local." in page


def test_a_dry_run_says_where_it_needs_the_other_sites(tmp_path: Path) -> None:
    from prism_fleet.dry_run import report

    site = make_site(tmp_path, 0)
    settings = tiny.settings(mode="one-shot", privacy={"epsilon": 100.0, "trust": "secagg"})
    assert "A secure sum needs the other sites" in report(settings, Path(site["data-dir"]))


def test_a_dry_run_says_that_a_round_s_secure_sum_needs_the_others(tmp_path: Path) -> None:
    from prism_fleet.dry_run import report

    site = make_site(tmp_path, 0)
    page = report(tiny.settings(wire={"codec": "sums"}), Path(site["data-dir"]))
    assert "A secure sum needs the other sites" in page


def test_a_dry_run_blames_the_other_sites_for_nothing_else(tmp_path: Path) -> None:
    from prism_fleet.dry_run import report

    site = make_site(tmp_path, 0)
    settings = tiny.settings(data={"images": 1})
    with pytest.raises(prism_fl.UsageError, match="the settings say that all clients together have 1"):
        report(settings, Path(site["data-dir"]))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("damaged")])
def test_what_the_user_cannot_mend_is_one_sentence_and_exit_code_1(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("prism_fleet.cli.lay_out_app", fail)
    assert command(monkeypatch, "app", tmp_path) == 1
    assert capsys.readouterr().err == f"error: {error}\n"


def test_a_users_mistake_is_one_sentence_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "settings.toml").write_text(SETTINGS)
    arguments = ("dry-run", "--settings", tmp_path / "settings.toml", "--data-dir", tmp_path / "images")
    assert command(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'images'} must hold one sub-folder") and error.count("\n") == 1
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    assert command(monkeypatch, "demo", "--out", tmp_path / "taken") == 2
    assert "is not empty" in capsys.readouterr().err


def test_what_flower_refuses_is_one_sentence_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flwr"))
    paths = ("--settings", tmp_path / "settings.toml", "--run-dir", tmp_path / "run")
    assert command(monkeypatch, "app", tmp_path / "app") == 0
    capsys.readouterr()
    assert command(monkeypatch, "run", tmp_path / "app", "nowhere", *paths) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: `flwr run ") and "'nowhere' not found" in error and error.count("\n") == 1


def test_a_settings_file_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.toml"
    arguments = ("dry-run", "--settings", settings, "--data-dir", tmp_path)
    assert command(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    remedy = "name the file that all sites agreed on"
    assert error == f"error: cannot read the settings {settings} (No such file or directory): {remedy}\n"
    settings.write_bytes(b"\xff")
    assert command(monkeypatch, *arguments) == 2
    assert "(it is not UTF-8 text)" in capsys.readouterr().err


def test_keys_are_what_flower_reads_and_secrets_are_the_owners_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "key", tmp_path / "site.key") == 0
    private = ssh.load_ssh_private_key((tmp_path / "site.key").read_bytes(), None)
    public = load_ssh_public_key((tmp_path / "site.key.pub").read_bytes())
    assert private.public_key() == public
    assert (tmp_path / "site.key").stat().st_mode & 0o777 == 0o600
    # An existing key is somebody's identity.
    capsys.readouterr()
    assert command(monkeypatch, "key", tmp_path / "site.key") == 2
    assert "keys are not replaced: name another file" in capsys.readouterr().err


def test_a_key_that_was_written_by_half_gets_its_public_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "key", tmp_path / "site.key") == 0
    private, public = ((tmp_path / name).read_bytes() for name in ("site.key", "site.key.pub"))
    (tmp_path / "site.key.pub").unlink()
    assert command(monkeypatch, "key", tmp_path / "site.key") == 0
    assert [(tmp_path / name).read_bytes() for name in ("site.key", "site.key.pub")] == [private, public]
    # What is no key of a node is left alone.
    (tmp_path / "other").write_text("mine")
    capsys.readouterr()
    assert command(monkeypatch, "key", tmp_path / "other") == 2
    assert "keys are not replaced" in capsys.readouterr().err
    assert (tmp_path / "other").read_text() == "mine" and not (tmp_path / "other.pub").exists()


def test_whoever_opens_a_state_folder_waits_for_its_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = make_site(tmp_path, 0)
    monkeypatch.setattr("prism_fleet.cli.LOCK_PATIENCE", 0.2)
    monkeypatch.setattr("prism_fleet.loopback.LOCK_PATIENCE", 0.2)
    fleet = LoopbackFleet(tmp_path / "fleet", SETTINGS, 1)
    with sole_user(Path(site["state-dir"]), 0.0), sole_user(fleet.sites[0] / "state", 0.0):
        options = [part for key, value in site.items() for part in (f"--{key}", value)]
        assert command(monkeypatch, "identity", *options, "--client", "0") == 1
        assert capsys.readouterr().err.startswith(f"error: another process uses {site['state-dir']}: wait")
        with pytest.raises(Busy):
            fleet.gather_keys()


def test_settings_that_the_disk_does_not_give_are_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **named: object) -> str:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_text", fail)
    assert command(monkeypatch, "dry-run", "--settings", tmp_path / "settings.toml", "--data-dir", tmp_path) == 1
    assert "(Input/output error)" in capsys.readouterr().err


def test_certificates_of_a_key_that_is_there_already_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("certificates", "--host", "fleet.example.org", tmp_path)
    assert command(monkeypatch, *arguments) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert command(monkeypatch, *arguments) == 2
    assert "keys are not replaced" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_certificates_hold_for_the_host_that_they_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command(monkeypatch, "certificates", "--host", "fleet.example.org", tmp_path) == 0
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    for host, good in (("fleet.example.org", True), ("127.0.0.1", True), ("evil.example.org", False)):
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        there = client.wrap_bio(down, up, server_hostname=host)
        here = server.wrap_bio(up, down, server_side=True)
        greet = [there, here, there]
        if good:
            for side in greet:
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
            assert there.getpeercert(), host
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                for side in greet:
                    with contextlib.suppress(ssl.SSLWantReadError):
                        side.do_handshake()


def test_the_app_travels_with_the_code_of_a_round_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command(monkeypatch, "app", tmp_path / "app") == 0
    flwr = Path(sys.executable).parent / "flwr"
    subprocess.run([flwr, "build", "--app", tmp_path / "app"], cwd=tmp_path, check=True, capture_output=True)
    (bundle,) = tmp_path.glob("*.fab")
    names = {name for name in zipfile.ZipFile(bundle).namelist() if name.endswith(".py")}
    modules = ("__init__", "client_app", "envelope", "exchange", "federation", "files", "roster", "server_app")
    assert names == {f"prism_fleet/{module}.py" for module in modules}


def test_generated_pictures_are_png_files_that_differ_from_site_to_site(tmp_path: Path) -> None:
    for site in (0, 1):
        write_folder(tmp_path / str(site), 2, seed=site)
    names = sorted(str(path.relative_to(tmp_path / "0")) for path in (tmp_path / "0").rglob("*.png"))
    assert names == [f"{kind}/000{k}.png" for kind in ("disc", "square", "stripes") for k in (0, 1)]
    assert (tmp_path / "0" / names[0]).read_bytes() != (tmp_path / "1" / names[0]).read_bytes()
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert png(grey).startswith(b"\x89PNG\r\n\x1a\n")


def test_the_demos_settings_are_a_settings_file() -> None:
    import tomllib

    assert tomllib.loads(demo.settings("one-shot"))["data"]["images"] == 540
