"""A fleet and its simulation: under the same settings, seed and images they make the same model, byte for byte."""

import json
import subprocess
from pathlib import Path

import prism_fl
import pytest
import tiny
from simulation import program, simulate

# Only a test may: a client's own choices then follow from the seed that all know.
SEEDED = {"randomness": "seed"}


def fleet(settings: str, sites: dict[str, Path], folder: Path) -> Path:
    """The run folder of a fleet, each of whose parties has folders of its own and is opened anew for each message."""
    run, images = str(folder / "run"), dict(enumerate(sites.values()))

    def client(k: int) -> prism_fl.Client:
        return prism_fl.Client(settings, str(images[k]), str(folder / f"state-{k}"), k)

    def exchange(server: prism_fl.Server) -> None:
        while due := server.exchange():
            for k in due[1]:
                server.accept_reply(k, client(k).reply(server.request(k)))
            server.end_exchange()

    exchange(prism_fl.Server(settings, run))
    while (server := prism_fl.Server(settings, run)).phase == "rounds":
        if server.mode == "rounds":
            server.ask(list(images))
            exchange(server)
            for k in server.cohort():
                server.accept(k, client(k).round(server.broadcast(k)))
            server.close()
            exchange(server)
        server.end_round()
    server.export()
    return Path(run)


@pytest.fixture
def sites(tmp_path: Path) -> dict[str, Path]:
    """Three sites, of which one lacks a class."""
    found = {f"site-{name}": tmp_path / name for name in "abc"}
    for seed, folder in enumerate(found.values()):
        tiny.write_images(folder, seed)
    for image in (found["site-b"] / "dark").iterdir():
        image.rename(found["site-b"] / "light" / f"more-{image.name}")
    (found["site-b"] / "dark").rmdir()
    return found


@pytest.mark.parametrize(
    "settings",
    [
        tiny.settings(run=SEEDED),
        tiny.settings(run=SEEDED, wire={"codec": "raw"}),
        tiny.settings(run=SEEDED, wire={"codec": "mrc"}),
        tiny.settings(run=SEEDED, training={"subclasses": 2}),
        tiny.settings(run=SEEDED, federation={"fraction": 0.67}),
        tiny.settings(mode="one-shot"),
        tiny.settings(mode="one-shot", training={"subclasses": 2}),
    ],
    ids=["flips", "raw", "mrc", "subclasses", "cohort", "one-shot", "one-shot-subclasses"],
)
def test_the_fleets_model_is_the_simulations(tmp_path: Path, sites: dict[str, Path], settings: str) -> None:
    ours, theirs = fleet(settings, sites, tmp_path / "fleet"), simulate(settings, sites, tmp_path / "simulation")
    assert (ours / "model.safetensors.zst").read_bytes() == (theirs / "model.safetensors.zst").read_bytes()


def with_peers(settings: str, sites: dict[str, Path], folder: Path) -> str:
    """The settings with the list of the clients' public keys, which each site has made for itself."""
    keys = [
        prism_fl.Client(settings, str(images), str(folder / f"state-{k}"), k).public_key
        for k, images in enumerate(sites.values())
    ]
    (folder / "peers").write_text("".join(f"{k} {key}\n" for k, key in enumerate(keys)))
    return settings + f'[run]\npeers = "{folder / "peers"}"\n'


@pytest.mark.parametrize(
    "settings",
    [
        tiny.settings(wire={"codec": "sums"}),
        tiny.settings(wire={"codec": "sums"}, training={"subclasses": 2}),
        tiny.settings(mode="one-shot", privacy={"epsilon": 100.0, "trust": "secagg"}, training={"subclasses": 2}),
    ],
    ids=["sums", "sums-subclasses", "private-one-shot"],
)
def test_secure_sums_over_a_fleet_are_the_simulations(tmp_path: Path, sites: dict[str, Path], settings: str) -> None:
    (tmp_path / "fleet").mkdir()
    ours = fleet(with_peers(settings, sites, tmp_path / "fleet"), sites, tmp_path / "fleet")
    theirs = simulate(settings, sites, tmp_path / "simulation")
    if "epsilon" in settings:
        # Noise comes from the operating system; what is promised and sent is the same.
        assert json.loads((ours / "privacy.json").read_text()) == json.loads((theirs / "privacy.json").read_text())
        assert metrics(ours)[0]["uplink_bytes"] == metrics(theirs)[0]["uplink_bytes"]
    else:
        assert (ours / "model.safetensors.zst").read_bytes() == (theirs / "model.safetensors.zst").read_bytes()


def test_a_site_refuses_a_secure_sum_without_its_own_list_of_keys(tmp_path: Path, sites: dict[str, Path]) -> None:
    settings = tiny.settings(wire={"codec": "sums"})
    with pytest.raises(prism_fl.UsageError, match="public keys of all clients"):
        fleet(settings, sites, tmp_path / "fleet")


@pytest.mark.parametrize("mode", ["rounds", "one-shot"])
def test_with_noise_the_fleet_promises_and_sends_what_the_simulation_does(
    tmp_path: Path, sites: dict[str, Path], mode: str
) -> None:
    settings = tiny.settings(mode=mode, privacy={"epsilon": 100.0})
    ours, theirs = fleet(settings, sites, tmp_path / "fleet"), simulate(settings, sites, tmp_path / "simulation")
    assert json.loads((ours / "privacy.json").read_text()) == json.loads((theirs / "privacy.json").read_text())
    rounds = [metrics(ours), metrics(theirs)]
    assert [len(lines) for lines in rounds] == [3, 3]
    for one, other in zip(*rounds, strict=True):
        assert one.keys() <= other.keys() and one["clients_answered"] == other["clients_answered"]
    if mode == "one-shot":
        # A noisy message's length does not depend on the noise.
        assert rounds[0][0]["uplink_bytes"] == pytest.approx(rounds[1][0]["uplink_bytes"], rel=0.01)


def test_a_report_is_made_of_a_fleet_and_its_simulation_alike(tmp_path: Path, sites: dict[str, Path]) -> None:
    settings = tiny.settings()
    runs = [fleet(settings, sites, tmp_path / "fleet"), simulate(settings, sites, tmp_path / "simulation")]
    page = tmp_path / "report.html"
    subprocess.run([program(), "report", *map(str, runs), "--out", str(page)], check=True, capture_output=True)
    text = page.read_text()
    assert text.count("run, the finished model") == 2
    # The same traffic, round by round.
    for one, other in zip(*map(metrics, runs), strict=True):
        sizes = ("uplink_bytes", "downlink_bytes", "uplink_bits_per_weight")
        for figure in (*sizes, "entropy_bits_per_weight", "density"):
            assert one[figure] == other[figure], figure


def metrics(run: Path) -> list[dict[str, float]]:
    """What a run folder says of its rounds."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
