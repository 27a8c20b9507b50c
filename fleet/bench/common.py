"""What the measurements share."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

FLEET = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(FLEET), str(FLEET / "tests")]

import tiny  # noqa: E402

from prism_fleet.loopback import LoopbackFleet  # noqa: E402
from prism_fleet.pictures import CLASSES, write_folder  # noqa: E402

__all__ = ["CLASSES", "FLEET", "LoopbackFleet", "descendants", "memory", "rounds", "tiny", "write_folder"]


def rounds(fleet: LoopbackFleet, run: str, timeout: float) -> Iterator[dict[str, float]]:
    """The metrics of each round of a run, as soon as it has ended. Raises `FlowerError` where the run fails.

    Nodes that end are started again: where many start at once, Flower's give up after half a minute.
    """
    path, model = fleet.run_dir / "metrics.jsonl", fleet.run_dir / "model.safetensors.zst"
    seen, end, looked = 0, time.monotonic() + timeout, time.monotonic()
    while time.monotonic() < end:
        finished = model.exists()
        lines = path.read_text().splitlines() if path.exists() else []
        yield from map(json.loads, lines[seen:])
        seen = len(lines)
        if finished:
            break
        if time.monotonic() - looked > 60:
            looked = time.monotonic()
            if fleet.flower.status(run)[0].startswith("finished"):
                break
        fleet.revive()
        time.sleep(0.1)
    fleet.flower.wait(run, 60.0)


def descendants(pid: int) -> list[int]:
    """A process and all that it started, by their parents' numbers."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def memory(pids: list[int]) -> float:
    """Megabytes that these processes hold together; a page that several share counts once, by its shares."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return total / 1000
