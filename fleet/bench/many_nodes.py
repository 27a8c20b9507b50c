"""Many SuperNodes on this machine, tiny settings, three rounds: whether all are counted, and what it takes.

Run it as `python fleet/bench/many_nodes.py 50 /tmp/fifty`.
"""

import sys
import time
from pathlib import Path

from common import LoopbackFleet, descendants, memory, rounds, tiny

TIMEOUT = 3600.0


def main(nodes: int, folder: Path) -> None:
    settings = tiny.settings(clients=nodes)
    with LoopbackFleet(folder, settings, nodes) as fleet:
        for number, site in enumerate(fleet.sites):
            tiny.write_images(site / "images", number)
        began = time.monotonic()
        fleet.start()
        print(f"{nodes} nodes started after {time.monotonic() - began:.0f} s", flush=True)
        run = fleet.start_run(min_clients=nodes, join_timeout=TIMEOUT, setup_timeout=TIMEOUT, round_timeout=TIMEOUT)
        for line in rounds(fleet, run, TIMEOUT):
            whole = {name: memory(descendants(process.pid)) for name, process in fleet.processes.items()}
            link = whole.pop("superlink")
            print(
                f"round {line['round']:.0f}: {line['clients_answered']:.0f} of {line['clients_asked']:.0f} answered, "
                f"{line['seconds']:.0f} s; SuperLink {link:.0f} MB, a node {sum(whole.values()) / nodes:.0f} MB",
                flush=True,
            )
        print(f"all in {time.monotonic() - began:.0f} s")


main(int(sys.argv[1]), Path(sys.argv[2]))
