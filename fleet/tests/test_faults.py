"""What a site survives that no SuperLink sees: a kill in the middle of its training, and a budget that is spent."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import prism_fl
import pytest
import tiny
from fake_grid import make_grid, run

TRAIN = """
import sys, prism_fl
settings, images, state, broadcast = sys.argv[1:]
client = prism_fl.Client(open(settings).read(), images, state, 0)
print("opened", flush=True)
client.round(open(broadcast, "rb").read())
print("answered", flush=True)
"""


def computed(pid: int) -> float:
    """Seconds that a process has computed: how far it is, however busy the machine."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_client_that_was_killed_while_it_trained_trains_to_the_same_bytes(tmp_path: Path) -> None:
    settings = tiny.settings(clients=1, federation={"local-steps": 100})
    tiny.write_images(tmp_path / "images", 0)
    server = prism_fl.Server(settings, str(tmp_path / "run"))

    def client(state: str) -> prism_fl.Client:
        return prism_fl.Client(settings, str(tmp_path / "images"), str(tmp_path / state), 0)

    server.ask([0])
    server.accept(0, client("state").round(server.broadcast(0)))
    server.end_round()
    server.ask([0])
    broadcast = server.broadcast(0)
    shutil.copytree(tmp_path / "state", tmp_path / "other")
    began = time.process_time()
    undisturbed = client("other").round(broadcast)
    took = time.process_time() - began

    (tmp_path / "settings.toml").write_text(settings)
    (tmp_path / "broadcast").write_bytes(broadcast)
    files = [str(tmp_path / name) for name in ("settings.toml", "images", "state", "broadcast")]
    for part in (0.1, 0.4):
        with subprocess.Popen([sys.executable, "-c", TRAIN, *files], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stdout.readline() == "opened\n"
            opened = computed(process.pid)
            while process.poll() is None and computed(process.pid) < opened + part * took:
                time.sleep(0.01)
            process.kill()
            said = process.stdout.read()
        assert (process.returncode, said) == (-signal.SIGKILL, ""), "it was killed while it trained"
    assert client("state").round(broadcast) == undisturbed


def test_a_site_whose_budget_is_spent_refuses_by_itself_whatever_the_server_asks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for seed in (1, 2):
        settings = tiny.settings(mode="one-shot", federation={"seed": seed}, privacy={"epsilon": 100.0})
        grid = make_grid(tmp_path, settings=settings)
        own = Path(grid.fakes[11].config["settings"])
        own.write_text(settings + "[run]\ntotal-epsilon = 110.0\n")
        with caplog.at_level("INFO"):
            run(grid, tmp_path / f"run-{seed}", settings)
        assert ("above `total-epsilon` 110" in caplog.text) == (seed == 2)
    refusal = "client 1 (site-11): refused by the site: the site cannot answer (UsageError); its own log says why"
    assert f"2 answered; {refusal}" in caplog.text
    draws = [(Path(node.config["state-dir"]) / "privacy-ledger.jsonl").read_text() for node in grid.fakes.values()]
    assert [len([json.loads(line) for line in draw.splitlines()]) for draw in draws] == [2, 1, 2]
