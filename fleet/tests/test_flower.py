"""The app on a real SuperLink with TLS, registered keys and three SuperNodes, each site with its own folders."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny
from conftest import HERE
from simulation import simulate

from prism_fleet.flower import FlowerError
from prism_fleet.keys import write_node_key
from prism_fleet.loopback import LoopbackFleet

pytestmark = pytest.mark.flower

# A node that was killed is let in again when its heartbeat has expired, about a minute later.
PATIENCE = 300.0
SECURE = "secagg"


class Fleet(LoopbackFleet):
    """Three tiny sites whose clients wait where a test holds them."""

    def __init__(self, folder: Path, settings: str) -> None:
        super().__init__(folder, settings, 3)
        self.holds = self.folder / "holds"
        self.holds.mkdir()
        self.env |= {"PYTHONPATH": str(HERE / "held"), "PRISM_HOLD": str(self.holds)}
        for number, site in enumerate(self.sites):
            tiny.write_images(site / "images", number)
        self.start()
        self.runs = 0

    @property
    def run_dir(self) -> Path:
        """The server's run folder: each test begins a new one."""
        return self.folder / "server" / f"run-{self.runs}"

    def begin(self, settings: str) -> None:
        """Another federation on the same nodes: what all agreed on changes at once, and sites forget what they knew."""
        self.runs += 1
        (self.folder / "settings.toml").write_text(settings)
        if any(word in settings for word in (SECURE, "sums")):
            self.gather_keys()

    def hold(self, point: str) -> None:
        """Makes whoever comes to `point` wait there."""
        (self.holds / point).touch()

    def reached(self, point: str) -> None:
        """Returns when somebody waits at `point`."""
        wait_until((self.holds / f"{point}.reached").exists, f"arrival at {point}")

    def release(self, point: str) -> None:
        """Lets whoever waits at `point` go on."""
        (self.holds / f"{point}.reached").unlink(missing_ok=True)
        (self.holds / point).unlink()

    def kill_app(self, name: str) -> None:
        """SIGKILL to the processes of one command of Flower's, as `flwr-serverapp`."""
        for pid in self.left_over():
            if name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)

    def said(self, run: str) -> str:
        """The log of a run's server app so far."""
        command = ["flwr", "log", run, "loopback", "--show"]
        return subprocess.run(command, env=self.env, capture_output=True, text=True).stdout

    def model(self) -> bytes:
        """What the fleet made."""
        return (self.run_dir / "model.safetensors.zst").read_bytes()

    def finish(self, run: str) -> bytes:
        """The model of a run, as soon as it is there."""
        self.flower.wait(run, PATIENCE)
        return self.model()

    def supervise(self, run: str) -> None:
        """Starts nodes again and again, as their supervisors would, until the run is over."""

        def over() -> bool:
            # Until its heartbeat has expired the SuperLink refuses a node that was killed, which then ends.
            self.revive()
            time.sleep(2.0)
            return self.flower.status(run)[0].startswith("finished")

        wait_until(over, "end of the run")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One fleet for all tests; at the end nothing is left of it."""
    with Fleet(tmp_path_factory.mktemp("loopback") / "fleet", tiny.settings()) as fleet:
        yield fleet
    assert fleet.left_over() == []


def simulation(fleet: Fleet, folder: Path) -> bytes:
    """The model that `prism-train` makes of the same settings and images."""
    sites = {site.name: site / "images" for site in fleet.sites}
    run = simulate((fleet.folder / "settings.toml").read_text(), sites, folder)
    return (run / "model.safetensors.zst").read_bytes()


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Looks until something has happened."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, f"no {what} within {PATIENCE:g} s"
        time.sleep(0.2)


@pytest.mark.parametrize(
    "settings",
    [
        tiny.settings(federation={"rounds": 2}),
        tiny.settings(mode="one-shot", federation={"rounds": 2}),
        tiny.settings(federation={"rounds": 1}, wire={"codec": "sums"}),
    ],
    ids=["rounds", "one-shot", "secure-sum"],
)
def test_the_fleets_model_is_the_simulations(fleet: Fleet, tmp_path: Path, settings: str) -> None:
    fleet.begin(settings)
    assert fleet.finish(fleet.start_run(join_timeout=PATIENCE)) == simulation(fleet, tmp_path)


@pytest.mark.parametrize("trust", ["local", SECURE])
def test_a_fleet_with_noise_says_what_it_promises_and_each_site_keeps_its_books(fleet: Fleet, trust: str) -> None:
    books = [site / "state" / "privacy-ledger.jsonl" for site in fleet.sites]
    before = [len(read(book).splitlines()) for book in books]
    privacy = {"epsilon": 100.0, "trust": trust}
    fleet.begin(tiny.settings(mode="one-shot", federation={"rounds": 1}, privacy=privacy))
    fleet.finish(fleet.start_run(join_timeout=PATIENCE))
    assert json.loads((fleet.run_dir / "privacy.json").read_text())["epsilon"] == 100.0
    for book, known in zip(books, before, strict=True):
        (draw,) = read(book).splitlines()[known:]
        assert json.loads(draw)["epsilon"] == 100.0


@pytest.mark.slow
def test_a_node_that_never_answers_is_missing_by_name_and_catches_up(fleet: Fleet) -> None:
    fleet.begin(tiny.settings(federation={"rounds": 2}))
    fleet.hold("1-before")
    run = fleet.start_run(join_timeout=PATIENCE, round_timeout=20.0)
    fleet.reached("1-before")
    wait_until(lambda: '"round":1' in read(fleet.run_dir / "metrics.jsonl"), "end of round 1")
    fleet.release("1-before")
    fleet.finish(run)
    answered = [json.loads(line)["clients_answered"] for line in read(fleet.run_dir / "metrics.jsonl").splitlines()]
    assert answered[0] == 2
    assert "client 1 (site-b): no answer within 20 s" in fleet.said(run)


def test_a_server_app_that_was_killed_is_resumed_by_a_new_run_to_the_same_bytes(fleet: Fleet, tmp_path: Path) -> None:
    fleet.begin(tiny.settings(federation={"rounds": 2}))
    fleet.hold("server")
    fleet.start_run(join_timeout=PATIENCE)
    # All have answered, and nothing is committed.
    fleet.reached("server")
    fleet.kill_app("flwr-serverapp")
    fleet.release("server")
    assert fleet.finish(fleet.start_run(join_timeout=PATIENCE)) == simulation(fleet, tmp_path)


def test_a_run_that_cannot_start_is_no_success(fleet: Fleet) -> None:
    run = fleet.start_run(run_dir="run")
    fleet.flower.follow(run)
    with pytest.raises(FlowerError, match="run-dir is 'run': give an absolute path"):
        fleet.flower.wait(run, PATIENCE)


def test_a_node_whose_key_is_not_registered_is_turned_away(fleet: Fleet, tmp_path: Path) -> None:
    write_node_key(tmp_path / "stranger.key")
    fleet.start_node(2, key=tmp_path / "stranger.key", name="stranger")
    wait_until(lambda: fleet.processes["stranger"].poll() is not None, "end of the stranger")
    assert fleet.processes.pop("stranger").returncode != 0


@pytest.mark.slow
def test_nodes_killed_before_while_and_after_they_train_come_back_as_the_same_clients(
    fleet: Fleet, tmp_path: Path
) -> None:
    fleet.begin(tiny.settings(federation={"rounds": 2}))
    for point in ("1-before", "2-after"):
        fleet.hold(point)
    run = fleet.start_run(join_timeout=PATIENCE, round_timeout=PATIENCE)
    # Site b has its message and does not train yet; site c has trained; site a waits for the next round.
    fleet.reached("1-before")
    fleet.reached("2-after")
    for site in fleet.sites:
        fleet.kill(site.name)
    fleet.kill_app("flwr-clientapp")
    for point in ("1-before", "2-after"):
        fleet.release(point)
    fleet.supervise(run)
    assert fleet.finish(run) == simulation(fleet, tmp_path)


@pytest.mark.slow
def test_a_live_node_that_the_superlink_calls_lost_is_asked_again(fleet: Fleet, tmp_path: Path) -> None:
    fleet.begin(tiny.settings(federation={"rounds": 2}))
    fleet.hold("1-before")
    run = fleet.start_run(join_timeout=PATIENCE, round_timeout=PATIENCE)
    fleet.reached("1-before")
    # Its machine stands still for longer than the SuperLink waits for a heartbeat, and then goes on as before.
    node = fleet.processes["site-b"]
    node.send_signal(signal.SIGSTOP)
    wait_until(lambda: "is gone; it is asked again" in fleet.said(run), "loss of the node")
    node.send_signal(signal.SIGCONT)
    fleet.release("1-before")
    assert fleet.finish(run) == simulation(fleet, tmp_path)


def test_a_superlink_that_was_killed_is_started_again_and_a_new_run_resumes(fleet: Fleet, tmp_path: Path) -> None:
    fleet.begin(tiny.settings(federation={"rounds": 2}))
    fleet.hold("0-before")
    fleet.start_run(join_timeout=PATIENCE)
    fleet.reached("0-before")
    fleet.kill("superlink")
    fleet.start_link()
    fleet.release("0-before")
    run = fleet.start_run(join_timeout=PATIENCE, round_timeout=PATIENCE)
    assert fleet.finish(run) == simulation(fleet, tmp_path)


def read(path: Path) -> str:
    """A file's text; nothing as long as it is not there."""
    return path.read_text() if path.exists() else ""
