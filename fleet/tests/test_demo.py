"""`prism-fleet demo` on a real SuperLink: what a newcomer runs first, and that nothing of it stays behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from prism_fleet.loopback import processes_of

pytestmark = pytest.mark.flower

PACKAGE = Path(__file__).parent.parent


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    """The command, writing to `folder`."""
    path = os.pathsep.join(filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", "prism_fleet", "demo", "--out", str(folder), *options]
    return subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,
    )


def hear_interrupts() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so would the demo under test."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    "options", [[], pytest.param(["--secure-sum"], marks=pytest.mark.slow)], ids=["", "secure-sum"]
)
def test_the_demo_makes_a_model_and_a_picture(tmp_path: Path, options: list[str]) -> None:
    folder = tmp_path / "demo"
    said, errors = start(folder, *options).communicate(timeout=600)
    assert said.splitlines()[-1] == f"picture  {folder / 'samples.png'}", errors
    assert (folder / "samples.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "model.safetensors.zst").stat().st_size > 1000
    rounds = (folder / "server" / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(rounds) == 4 and all('"clients_answered":3' in line for line in rounds)
    assert processes_of(folder) == []


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_nothing_behind(tmp_path: Path, ending: signal.Signals) -> None:
    process = start(tmp_path / "demo")
    assert process.stdout is not None
    # The SuperLink starts as soon as this is said; the nodes follow.
    while not process.stdout.readline().startswith("a SuperLink"):
        assert process.poll() is None
    while len(processes_of(tmp_path / "demo")) < 3:
        assert process.poll() is None
    process.send_signal(ending)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + ending, errors
    assert processes_of(tmp_path / "demo") == []
