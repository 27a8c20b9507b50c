"""The module as Python sees it. Training itself is tested in Rust."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import prism_fl
import pytest
from conftest import png, settings


def run(folder: Path, sites: list[Path], mode: str = "rounds", reopen: bool = False) -> bytes:
    """A federation in this process; with `reopen`, every call is made by objects that were just opened."""
    held: dict[int | str, prism_fl.Client | prism_fl.Server] = {}

    def server() -> prism_fl.Server:
        if "server" not in held:
            held["server"] = prism_fl.Server(settings(mode), str(folder / "run"))
        found = held["server"]
        assert isinstance(found, prism_fl.Server)
        return found

    def client(k: int) -> prism_fl.Client:
        if reopen or k not in held:
            held[k] = prism_fl.Client(settings(mode), str(sites[k]), str(folder / f"state-{k}"), k)
        found = held[k]
        assert isinstance(found, prism_fl.Client)
        return found

    while due := server().exchange():
        for k in due[1]:
            server().accept_reply(k, client(k).reply(server().request(k)))
        server().end_exchange()
    while server().phase == "rounds":
        if server().mode == "rounds":
            for k in server().ask(list(range(server().clients))):
                server().accept(k, client(k).round(server().broadcast(k)))
        assert server().end_round()["round"] == server().round - 1
        if reopen:
            held.clear()
    return Path(server().export()).read_bytes()


@pytest.mark.parametrize("mode", ["rounds", "one-shot"])
def test_objects_that_are_opened_anew_for_each_round_make_the_same_bytes(
    tmp_path: Path, sites: list[Path], mode: str
) -> None:
    assert run(tmp_path / "a", sites, mode) == run(tmp_path / "b", sites, mode, reopen=True)
    lines = (tmp_path / "b" / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in lines] == [1, 2]


def test_a_client_whose_answer_was_lost_is_caught_up_by_a_snapshot(tmp_path: Path, sites: list[Path]) -> None:
    server = prism_fl.Server(settings(), str(tmp_path / "run"))
    clients = [prism_fl.Client(settings(), str(site), str(tmp_path / f"state-{k}"), k) for k, site in enumerate(sites)]
    server.ask([0, 1])
    server.accept(0, clients[0].round(server.broadcast(0)))
    clients[1].round(server.broadcast(1))  # The answer is lost.
    server.end_round()
    assert server.ask([0, 1]) == [0, 1]
    try:
        update = clients[1].round(server.broadcast(1))
    except prism_fl.NeedsSnapshot as error:
        assert "snapshot" in str(error)
        update = clients[1].round(server.snapshot(1))
    server.accept(1, update)


def open_request(server: prism_fl.Server) -> bytes:
    """The request to client 0 in the exchange that is due."""
    assert server.exchange() is not None
    return server.request(0)


def test_a_second_draw_on_the_same_images_is_told_to_the_site(
    tmp_path: Path, sites: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    for seed in (1, 2):
        private = settings("one-shot").replace("rounds = 2", f"rounds = 2\nseed = {seed}")
        private += "[privacy]\nepsilon = 100.0\n"
        server = prism_fl.Server(private, str(tmp_path / f"run-{seed}"))
        assert "earlier draw" not in caplog.text
        prism_fl.Client(private, str(sites[0]), str(tmp_path / "state"), 0).reply(open_request(server))
    assert "the privacy ledger knows 1 earlier draw(s) on these images" in caplog.text


def test_what_is_not_a_message_of_the_round_is_refused_and_changes_nothing(tmp_path: Path, sites: list[Path]) -> None:
    server = prism_fl.Server(settings(), str(tmp_path / "run"))
    client = prism_fl.Client(settings(), str(sites[0]), str(tmp_path / "state"), 0)
    server.ask([0, 1])
    broadcast = server.broadcast(0)
    for damaged in (b"", b"x", broadcast[:-1], broadcast[:-1] + bytes([broadcast[-1] ^ 1])):
        with pytest.raises(prism_fl.Refused):
            client.round(damaged)
    update = client.round(broadcast)
    for damaged in (b"", update[:-1], broadcast):
        with pytest.raises(prism_fl.Refused):
            server.accept(0, damaged)
    with pytest.raises(prism_fl.Refused):
        server.accept(1, update)
    server.accept(0, update)
    with pytest.raises(prism_fl.Refused):
        server.accept(0, update)


def test_a_site_is_told_of_scans_that_would_be_black_and_says_what_its_scanner_holds(
    tmp_path: Path, sites: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    for number, path in enumerate(sites[0].rglob("*.png")):
        values = [(61 * k + 997 * number) % 4096 for k in range(64)]
        path.write_bytes(png(b"".join(value.to_bytes(2, "big") for value in values), 8, 16))
    prism_fl.Client(settings(), str(sites[0]), str(tmp_path / "state"), 0)
    assert "`intensity` 0-4095" in caplog.text
    caplog.clear()
    prism_fl.Client(settings() + '[run]\nintensity = "0-4095"\n', str(sites[0]), str(tmp_path / "state"), 0)
    assert not caplog.text
    with pytest.raises(prism_fl.UsageError, match="`intensity` is dark"):
        prism_fl.Client(settings() + '[run]\nintensity = "dark"\n', str(sites[0]), str(tmp_path / "other"), 0)


def test_a_site_may_pass_over_files_that_cannot_be_read_and_is_told_which(
    tmp_path: Path, sites: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    (sites[0] / "dark" / "0.png").write_bytes(b"broken")
    with pytest.raises(RuntimeError, match="1 broken image files: .*dark/0.png.*`skip-broken`"):
        prism_fl.Client(settings(), str(sites[0]), str(tmp_path / "state"), 0)
    prism_fl.Client(settings() + "[run]\nskip-broken = true\n", str(sites[0]), str(tmp_path / "state"), 0)
    assert "passed over 1 broken image files: " in caplog.text and "dark/0.png" in caplog.text


def test_a_users_mistake_is_named(tmp_path: Path, sites: list[Path]) -> None:
    state = str(tmp_path / "state")
    for text, sentence in (
        ("[data", "the settings cannot be used"),
        ("", "no table \\[data\\]"),
        (settings().replace("rounds = 2", "rounds = 2\nround = 3"), "unknown field `round`"),
        (settings().replace('["dark", "light"]', '["dark", "bright"]'), "class 'light' of .* is none of"),
        (settings().replace('["dark", "light"]', "[]"), "the settings agree on none"),
    ):
        with pytest.raises(prism_fl.UsageError, match=sentence):
            prism_fl.Client(text, str(sites[0]), state, 0)
    prism_fl.Client(settings(), str(sites[0]), state, 0)
    with pytest.raises(prism_fl.UsageError, match="this site is client 0 of this federation"):
        prism_fl.Client(settings(), str(sites[0]), state, 1)
    prism_fl.Server(settings(), str(tmp_path / "run"))
    with pytest.raises(prism_fl.UsageError, match="holds a run of other settings"):
        prism_fl.Server(settings("one-shot"), str(tmp_path / "run"))


def test_other_threads_run_while_a_client_trains(tmp_path: Path, sites: list[Path]) -> None:
    text = settings().replace("local-steps = 2", "local-steps = 200")
    server = prism_fl.Server(text, str(tmp_path / "run"))
    client = prism_fl.Client(text, str(sites[0]), str(tmp_path / "state"), 0)
    server.ask([0, 1])
    broadcast, done, gaps = server.broadcast(0), threading.Event(), [0.0]

    def watch() -> None:
        last = time.monotonic()
        while not done.is_set():
            time.sleep(0.01)
            now = time.monotonic()
            gaps.append(now - last)
            last = now

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    client.round(broadcast)
    took = time.monotonic() - began
    done.set()
    watcher.join()
    assert len(gaps) > 3 and max(gaps) < max(0.5, took / 2)


def test_a_model_can_be_drawn(tmp_path: Path, sites: list[Path]) -> None:
    run(tmp_path, sites)
    prism_fl.draw(str(tmp_path / "run" / "model.safetensors.zst"), str(tmp_path / "picture.png"), images=4)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises((prism_fl.UsageError, OSError, RuntimeError)):
        prism_fl.draw(str(sites[0] / "dark" / "0.png"), str(tmp_path / "none.png"))


def test_the_stubs_say_what_the_module_has() -> None:
    # A class of Rust has no __init__ of its own, only __new__.
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "prism_fl", "--ignore-missing-stub", "--concise"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
