"""The app on a real SuperLink with TLS, registered keys and three SuperNodes. Minutes: `pytest -m flower`."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import prism_fl
import pytest
from conftest import STANDIN

from prism_fleet.flower import FlowerError
from prism_fleet.keys import write_node_key
from prism_fleet.loopback import LoopbackFleet

pytestmark = pytest.mark.flower

ROUNDS = "[federation]\nclients = 3\nrounds = 3\n"
# A node that was killed is let in again when its heartbeat has expired, about a minute later.
PATIENCE = 300.0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], LoopbackFleet]]:
    """Starts a fleet with the given settings; ends it and checks that nothing is left of it."""
    fleets: list[LoopbackFleet] = []

    def starter(settings: str) -> LoopbackFleet:
        fleet = LoopbackFleet(tmp_path / "fleet", settings, 3)
        fleets.append(fleet)
        fleet.env["PYTHONPATH"] = str(STANDIN)
        for number, site in enumerate(fleet.sites):
            (site / "images" / f"{number}.png").write_bytes(b"")
        fleet.start()
        return fleet

    yield starter
    for fleet in fleets:
        fleet.stop()
        assert fleet.left_over() == []


def simulate(fleet: LoopbackFleet, folder: Path) -> str:
    """The model that the same calls make without Flower."""
    settings = (fleet.folder / "settings.toml").read_text()
    server = prism_fl.Server(settings, str(folder / "server"))
    sites = {k: (str(site / "images"), str(folder / site.name)) for k, site in enumerate(fleet.sites)}
    clients = {k: prism_fl.Client(settings, *paths, k) for k, paths in sites.items()}
    while server.phase == "setup":
        for k, client in clients.items():
            server.accept_setup(k, client.setup(server.setup_request(k)))
        server.end_setup()
    while server.phase == "rounds":
        for k in server.ask(list(clients)) if server.mode == "rounds" else []:
            server.accept(k, clients[k].round(server.broadcast(k)))
        server.end_round()
    return Path(server.export()).read_text()


def model(fleet: LoopbackFleet) -> str:
    """What the fleet made."""
    return (fleet.run_dir / "model.safetensors.zst").read_text()


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Looks until something has happened."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, f"no {what} within {PATIENCE:g} s"
        time.sleep(0.2)


def read(path: Path) -> str:
    """A file's text; nothing as long as it is not there."""
    return path.read_text() if path.exists() else ""


def test_the_fleets_model_is_the_simulations(start: Callable[[str], LoopbackFleet], tmp_path: Path) -> None:
    fleet = start(ROUNDS)
    run = fleet.start_run(join_timeout=PATIENCE)
    fleet.flower.wait(run, PATIENCE)
    assert model(fleet) == simulate(fleet, tmp_path / "simulation")
    # A finished run is opened again, and says so at once.
    fleet.flower.wait(fleet.start_run(), PATIENCE)


def test_one_shot_sites_may_go_away_once_they_answered(start: Callable[[str], LoopbackFleet], tmp_path: Path) -> None:
    fleet = start('[federation]\nclients = 3\nrounds = 3\nmode = "one-shot"\n[standin]\nseconds = 5.0\n')
    run = fleet.start_run(join_timeout=PATIENCE)
    wait_until(lambda: '"phase": "rounds"' in read(fleet.run_dir / "state.json"), "end of the setup")
    for site in fleet.sites:
        fleet.kill(site.name)
    fleet.flower.wait(run, PATIENCE)
    assert model(fleet) == simulate(fleet, tmp_path / "simulation")


def test_a_node_killed_while_it_trains_comes_back_as_the_same_client(
    start: Callable[[str], LoopbackFleet], tmp_path: Path
) -> None:
    fleet = start(ROUNDS + "[standin]\nseconds = 6.0\n")
    run = fleet.start_run(join_timeout=PATIENCE, round_timeout=PATIENCE)
    wait_until(lambda: '"round": 1' in read(fleet.sites[1] / "state" / "state.json"), "first round of site-b")
    time.sleep(5.0)
    fleet.kill("site-b")

    def back() -> bool:
        # Until the heartbeat has expired the SuperLink refuses the node, which then ends; a supervisor tries again.
        if "site-b" not in fleet.processes or fleet.processes["site-b"].poll() is not None:
            fleet.start_node(1)
        time.sleep(4.0)
        return fleet.flower.status(run)[0].startswith("finished")

    wait_until(back, "end of the run")
    fleet.flower.wait(run, 1.0)
    assert model(fleet) == simulate(fleet, tmp_path / "simulation")


def test_a_superlink_that_was_killed_is_started_again_and_a_new_run_resumes(
    start: Callable[[str], LoopbackFleet], tmp_path: Path
) -> None:
    fleet = start(ROUNDS + "[standin]\nseconds = 6.0\n")
    fleet.start_run(join_timeout=PATIENCE)
    wait_until(lambda: '"round": 1' in read(fleet.sites[1] / "state" / "state.json"), "first round of site-b")
    time.sleep(3.0)
    fleet.kill("superlink")
    fleet.start_link()
    fleet.flower.wait(fleet.start_run(join_timeout=PATIENCE, round_timeout=PATIENCE), PATIENCE)
    assert model(fleet) == simulate(fleet, tmp_path / "simulation")


def test_a_server_app_that_was_killed_fails_its_run_and_a_new_one_resumes(
    start: Callable[[str], LoopbackFleet], tmp_path: Path
) -> None:
    fleet = start(ROUNDS + "[standin]\nseconds = 6.0\n")
    run = fleet.start_run(join_timeout=PATIENCE)
    wait_until(lambda: '"round": 1' in read(fleet.sites[1] / "state" / "state.json"), "first round of site-b")
    for pid in fleet.left_over():
        if b"flwr-serverapp" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    with pytest.raises(FlowerError, match="finished:failed"):
        fleet.flower.wait(run, PATIENCE)
    fleet.flower.wait(fleet.start_run(join_timeout=PATIENCE, round_timeout=PATIENCE), PATIENCE)
    assert model(fleet) == simulate(fleet, tmp_path / "simulation")


def test_a_run_that_cannot_start_is_no_success(start: Callable[[str], LoopbackFleet]) -> None:
    fleet = start(ROUNDS)
    run = fleet.start_run(run_dir="run")
    fleet.flower.follow(run)
    with pytest.raises(FlowerError, match="run-dir is 'run': give an absolute path"):
        fleet.flower.wait(run, PATIENCE)


def test_a_node_whose_key_is_not_registered_is_turned_away(start: Callable[[str], LoopbackFleet]) -> None:
    fleet = start(ROUNDS)
    fleet.kill("site-c")
    (fleet.sites[2] / "node.key").unlink()
    write_node_key(fleet.sites[2] / "node.key")
    fleet.start_node(2)
    wait_until(lambda: fleet.processes["site-c"].poll() is not None, "end of the stranger")
    assert fleet.processes["site-c"].returncode != 0
