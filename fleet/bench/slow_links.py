"""Three sites behind slow links, in network namespaces of their own: bytes and time of a round beside what we count.

Run it as `sudo python fleet/bench/slow_links.py /tmp/slow-links`, on Linux.

Packets go through two `tun` devices a site and this process, which holds them back as a line of 10 Mbit/s and 50 ms
each way would (`tc netem` does the same where the kernel has it). The kernel counts what the server's end of each line
carried.
"""

import ctypes
import fcntl
import os
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

from common import CLASSES, FLEET, LoopbackFleet, rounds, tiny, write_folder

SITES = 3
BITS_PER_SECOND, DELAY = 10e6, 0.05
# What a router would hold before it drops packets: a quarter of a second.
QUEUE_BYTES = BITS_PER_SECOND / 8 / 4
SERVER, ADDRESS = "prism-server", "10.77.0.1"
TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000
IMAGES_PER_CLASS = 100


def ip(*arguments: str) -> None:
    """The command `ip`."""
    subprocess.run(["ip", *arguments], check=True)


def enter(namespace: str) -> None:
    """Moves this thread into a network namespace."""
    with open(f"/run/netns/{namespace}", "rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace {namespace}: run as root")


def tun(namespace: str, name: str) -> int:
    """A new network device of a namespace, whose packets this process reads and writes."""
    enter(namespace)
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def relay(source: int, target: int) -> None:
    """Carries packets one way, each after those before it and no sooner than it would arrive."""
    waiting: deque[tuple[float, bytes]] = deque()
    arrived, free, held = threading.Semaphore(0), [time.monotonic()], [0]

    def receive() -> None:
        while packet := os.read(source, 65536):
            now = time.monotonic()
            if held[0] + len(packet) > QUEUE_BYTES:
                continue
            held[0] += len(packet)
            free[0] = max(now, free[0]) + 8 * len(packet) / BITS_PER_SECOND
            waiting.append((free[0] + DELAY, packet))
            arrived.release()

    def deliver() -> None:
        while arrived.acquire():
            due, packet = waiting.popleft()
            time.sleep(max(0.0, due - time.monotonic()))
            held[0] -= len(packet)
            os.write(target, packet)

    for act in (receive, deliver):
        threading.Thread(target=act, daemon=True).start()


def connect(site: int) -> None:
    """The line between a site and the server."""
    namespace, own = f"prism-{site}", f"10.77.{site + 1}"
    ends = tun(SERVER, f"line{site}"), tun(namespace, "line")
    for where, device, here, there in (
        (SERVER, f"line{site}", f"{own}.1", f"{own}.2"),
        (namespace, "line", f"{own}.2", f"{own}.1"),
    ):
        ip("-n", where, "addr", "add", here, "peer", there, "dev", device)
        ip("-n", where, "link", "set", device, "up")
    ip("-n", namespace, "link", "set", "lo", "up")
    ip("-n", namespace, "route", "add", ADDRESS, "dev", "line")
    relay(*ends)
    relay(*reversed(ends))


class Counter:
    """Bytes that the kernel carried to and from the sites since the last look."""

    def __init__(self) -> None:
        self.last = self.read()

    def read(self) -> tuple[int, int]:
        rows = [line.split() for line in Path("/proc/thread-self/net/dev").read_text().splitlines() if "line" in line]
        return sum(int(row[1]) for row in rows), sum(int(row[9]) for row in rows)

    def lap(self) -> tuple[int, int]:
        """From the sites, and to them."""
        before, self.last = self.last, self.read()
        return self.last[0] - before[0], self.last[1] - before[1]


class Sites(LoopbackFleet):
    """A fleet whose nodes live in namespaces of their own."""

    def prefix(self, number: int) -> list[str]:
        return ["ip", "netns", "exec", f"prism-{number}"]


def measure(fleet: Sites, work: float, counter: Counter) -> None:
    """Three rounds in which each client's work takes `work` seconds longer than it does."""
    started = time.time()
    counter.lap()
    run = fleet.start_run(min_clients=SITES, join_timeout=300)
    print(f"{work:g} s of work added to each client's round:")
    for line in rounds(fleet, run, 1800):
        up, down = counter.lap()
        more = f" ({line['seconds'] / work - 1:.0%} more than the work)" if work else ""
        print(
            f"  round {line['round']:.0f}: {line['seconds']:.1f} s{more}; up {line['uplink_bytes']:,.0f} bytes "
            f"counted, {up:,} carried; down {line['downlink_bytes']:,.0f} counted, {down:,} carried",
            flush=True,
        )
    model = fleet.run_dir / "model.safetensors.zst"
    took = model.stat().st_mtime - started
    print(f"  {took:.0f} s from `flwr run` to a model of {model.stat().st_size:,} bytes")


def settings(seed: int) -> str:
    """A federation of a 60 KB model."""
    return tiny.settings(
        federation={"seed": seed, "local-steps": 5},
        data={"class-names": CLASSES, "images": SITES * len(CLASSES) * IMAGES_PER_CLASS},
        model={"image-size": 32, "ngf": 16, "latent": 64},
        training={"encoder": "public", "batch-size": 30, "classes-per-step": len(CLASSES)},
    )


def main(folder: Path) -> None:
    names = [SERVER, *(f"prism-{site}" for site in range(SITES))]
    try:
        for name in names:
            ip("netns", "add", name)
        for site in range(SITES):
            connect(site)
        enter(SERVER)
        ip("link", "set", "lo", "up")
        ip("addr", "add", ADDRESS, "dev", "lo")
        counter = Counter()
        for work in (0.0, 30.0):
            with Sites(folder / f"{work:.0f}", settings(int(work)), SITES, host=ADDRESS) as fleet:
                fleet.env |= {
                    "PYTHONPATH": str(FLEET / "tests" / "held"),
                    "PRISM_HOLD": "/nowhere",
                    "PRISM_SECONDS": str(work),
                }
                for number, site in enumerate(fleet.sites):
                    write_folder(site / "images", IMAGES_PER_CLASS, seed=number)
                fleet.start()
                time.sleep(15)
                counter.lap()
                time.sleep(30)
                up, down = counter.lap()
                print(f"idle: a node sends {up / SITES / 30:,.0f} bytes a second and receives {down / SITES / 30:,.0f}")
                measure(fleet, work, counter)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


main(Path(sys.argv[1]))
