"""What a node needs: memory of all its processes at their most, and how long a client's round takes to begin.

Run it as `python fleet/bench/node_cost.py /tmp/node-cost`.
"""

import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import prism_fl
from common import CLASSES, LoopbackFleet, descendants, memory, rounds, tiny, write_folder

IMAGES_PER_CLASS = 300
TRIES = 5
COLD = """
import time; began = time.perf_counter()
import prism_fl; imported = time.perf_counter()
client = prism_fl.Client(open({settings!r}).read(), {images!r}, {state!r}, 0); opened = time.perf_counter()
client.round(open({broadcast!r}, "rb").read()); answered = time.perf_counter()
print(imported - began, opened - imported, answered - opened)
"""


def settings(ngf: int, steps: int) -> str:
    """A federation of one site with 32x32 pictures."""
    return tiny.settings(
        clients=1,
        federation={"rounds": 2, "local-steps": steps},
        data={"class-names": CLASSES, "images": len(CLASSES) * IMAGES_PER_CLASS},
        model={"image-size": 32, "ngf": ngf, "latent": 128},
        training={"encoder": "public", "batch-size": 30, "classes-per-step": len(CLASSES)},
    )


def cold_start(ngf: int, folder: Path, images: Path) -> None:
    """A client's second round in a process of its own, with one local step: its moments are measured already."""
    (folder / f"{ngf}.toml").write_text(settings(ngf, 1))
    text, state, broadcast = settings(ngf, 1), folder / f"state-{ngf}", folder / f"broadcast-{ngf}"
    server = prism_fl.Server(text, str(folder / f"run-{ngf}"))
    server.ask([0])
    server.accept(0, prism_fl.Client(text, str(images), str(state), 0).round(server.broadcast(0)))
    server.end_round()
    server.ask([0])
    broadcast.write_bytes(server.broadcast(0))
    paths = {"settings": str(folder / f"{ngf}.toml"), "images": str(images), "state": str(state)}
    command = [sys.executable, "-c", COLD.format(broadcast=str(broadcast), **paths)]
    times = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(TRIES)]
    module, opened, answered = (statistics.median(float(t) for t in column) for column in zip(*times, strict=True))
    print(
        f"ngf {ngf}: the module {module:.2f} s, opening a client {opened:.2f} s, a round of one step {answered:.2f} s"
    )


def peak(folder: Path) -> None:
    """The most that one node's processes hold while they take part in two rounds."""
    most = [0.0]
    with LoopbackFleet(folder, settings(16, 20), 1) as fleet:
        write_folder(fleet.sites[0] / "images", IMAGES_PER_CLASS, seed=1)
        fleet.start()
        node, done = fleet.processes["site-a"].pid, threading.Event()

        def watch() -> None:
            while not done.wait(0.05):
                most[0] = max(most[0], memory(descendants(node)))

        watcher = threading.Thread(target=watch)
        watcher.start()
        run = fleet.start_run(join_timeout=300)
        for line in rounds(fleet, run, 900):
            print(f"round {line['round']:.0f}: {line['seconds']:.1f} s")
        idle = memory(descendants(node))
        done.set()
        watcher.join()
    print(f"ngf 16, 32x32: a node's processes hold {idle:.0f} MB when idle, {most[0]:.0f} MB at most")


def main(folder: Path) -> None:
    folder.mkdir(parents=True)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    bare = time.perf_counter() - began
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import flwr.app, flwr.clientapp"], check=True)
    print(f"the interpreter {bare:.2f} s, with Flower {time.perf_counter() - began:.2f} s")
    write_folder(folder / "images", IMAGES_PER_CLASS, seed=1)
    for ngf in (16, 64):
        cold_start(ngf, folder, folder / "images")
    peak(folder / "fleet")


main(Path(sys.argv[1]))
