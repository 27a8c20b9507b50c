"""Many SuperNodes on this machine, tiny settings, three rounds: whether all are counted, and what it takes.

Run it as `python fleet/bench/many_nodes.py 50 /tmp/fifty [CONCURRENCY]`. With 0 all work at once, as they would on
machines of their own.
"""

import subprocess
import sys
import threading
import time
from pathlib import Path

from common import LoopbackFleet, descendants, memory, rounds, tiny

TIMEOUT = 3600.0
ROUND_TIMEOUT = 600.0


class Peak:
    """The most that all processes of a fleet hold together, looked at now and then."""

    def __init__(self, fleet: LoopbackFleet) -> None:
        self.fleet, self.most, self.done = fleet, 0.0, threading.Event()
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self) -> None:
        while not self.done.wait(5.0):
            self.most = max(self.most, memory(self.fleet.left_over()))


def main(nodes: int, folder: Path, concurrency: int) -> None:
    with LoopbackFleet(folder, tiny.settings(clients=nodes), nodes) as fleet:
        for number, site in enumerate(fleet.sites):
            tiny.write_images(site / "images", number)
        began = time.monotonic()
        fleet.start()
        print(f"{nodes} nodes started after {time.monotonic() - began:.0f} s", flush=True)
        peak = Peak(fleet)
        run = fleet.start_run(concurrency=concurrency, join_timeout=ROUND_TIMEOUT, round_timeout=ROUND_TIMEOUT)
        for line in rounds(fleet, run, TIMEOUT):
            print(
                f"round {line['round']:.0f}: {line['clients_answered']:.0f} of {line['clients_asked']:.0f} answered, "
                f"{line['seconds']:.0f} s",
                flush=True,
            )
        whole = {name: memory(descendants(process.pid)) for name, process in fleet.processes.items()}
        link = whole.pop("superlink")
        peak.done.set()
        took, node = time.monotonic() - began, sum(whole.values()) / nodes
        print(f"{took:.0f} s; the SuperLink {link:.0f} MB, a node {node:.0f} MB, all at most {peak.most:,.0f} MB")
        log = subprocess.run(["flwr", "log", run, "loopback", "--show"], env=fleet.env, capture_output=True, text=True)
        for text in log.stdout.splitlines():
            if any(word in text for word in ("answered;", "crashed", "is gone", "started again", "model:")):
                print(text[:400])


main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 4)
