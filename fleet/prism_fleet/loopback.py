"""A fleet on one machine: SuperLink and SuperNodes as processes of their own, with TLS, node keys and separate folders.

```text
FOLDER/settings.toml              the same for all
       app/                       the Flower app
       server/                    ca.pem, server.pem, server.key, link.db, run/
       site-a/ site-b/ ...        node.key, node.key.pub, images/, state/
       flwr/                      Flower's own files, config.toml with the SuperLink's address
       logs/
```
"""

import contextlib
import os
import random
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

import prism_fl

from .files import LOCK_PATIENCE, sole_user
from .flower import Flower, FlowerError, environment, lay_out_app
from .keys import write_certificates, write_node_key

SUPERLINK = "loopback"
START_SECONDS = 90.0
STOP_SECONDS = 15.0
# Nodes that cannot connect and start again at once would keep a small machine busy with starting.
REST_SECONDS = 15.0
# Below those that systems give to outgoing connections, so that nobody has taken one by the time it is used.
PORTS = range(20000, 32000)
ENDINGS = (signal.SIGTERM, signal.SIGHUP)


class LoopbackFleet:
    """Starts and stops the processes; a context, at whose end none of them is left."""

    def __init__(self, folder: Path, settings: str, sites: int, host: str = "127.0.0.1") -> None:
        self.folder, self.host = folder.resolve(), host
        names = [chr(ord("a") + k) if sites <= 26 else f"{k:03}" for k in range(sites)]
        self.sites = [self.folder / f"site-{name}" for name in names]
        self.port, *self.node_ports = free_ports(sites + 1)
        # How often each node's executor looks for work: fifty that look twice a second keep a core busy with looking.
        look = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": str(max(0.2, sites / 25))}
        self.env = environment() | look | {"FLWR_HOME": str(self.folder / "flwr")}
        self.flower = Flower(SUPERLINK, self.env)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._handlers: dict[int, Any] = {}
        # When each process began, last.
        self._began: dict[str, float] = {}
        self._lay_out(settings)

    def _lay_out(self, settings: str) -> None:
        for name in ("server", "flwr", "logs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "settings.toml").write_text(settings, encoding="utf-8")
        lay_out_app(self.folder / "app")
        write_certificates(self.folder / "server", self.host)
        for site in self.sites:
            write_node_key(site / "node.key")
            (site / "images").mkdir()
        address = f'[superlink.{SUPERLINK}]\naddress = "{self.host}:{self.port}"\n'
        address += f'root-certificates = "{self.folder / "server" / "ca.pem"}"\n'
        (self.folder / "flwr" / "config.toml").write_text(address, encoding="utf-8")

    def __enter__(self) -> Self:
        # Whoever ends this process ends what it started, also by `kill` or a closed terminal.
        self._handlers = {ending: signal.signal(ending, _leave) for ending in ENDINGS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A second Ctrl-C must not leave half of them behind.
        self._handlers[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self.stop()
        finally:
            for ending, handler in self._handlers.items():
                signal.signal(ending, handler)

    def start(self) -> None:
        """Starts all and registers the nodes' keys, in the order of the sites."""
        self.start_link()
        for number, site in enumerate(self.sites):
            self.flower.register(site / "node.key.pub", site.name)
            self.start_node(number)

    def gather_keys(self) -> None:
        """Has every site make its key for secure sums, and gives all of them the list, as people do by hand."""
        settings = self.folder / "settings.toml"
        text = settings.read_text(encoding="utf-8")
        lines = []
        for number, site in enumerate(self.sites):
            # Its node may run.
            with sole_user(site / "state", LOCK_PATIENCE):
                client = prism_fl.Client(text, str(site / "images"), str(site / "state"), number)
                lines.append(f"{number} {client.public_key}\n")
        (self.folder / "peers").write_text("".join(lines), encoding="utf-8")
        settings.write_text(f'{text}\n[run]\npeers = "{self.folder / "peers"}"\n', encoding="utf-8")

    def revive(self) -> None:
        """Starts nodes that have ended, as their supervisors would: not those that began a moment ago."""
        for number, site in enumerate(self.sites):
            ended = site.name not in self.processes or self.processes[site.name].poll() is not None
            if ended and time.monotonic() - self._began.get(site.name, 0.0) > REST_SECONDS:
                self.start_node(number)

    def start_link(self) -> None:
        """Starts the SuperLink and waits until it answers."""
        server = self.folder / "server"
        command = ["flower-superlink", "--host", self.host, "--port", str(self.port)]
        command += ["--database", str(server / "link.db"), "--enable-supernode-auth"]
        command += ["--disable-runtime-dependency-installation"]
        files = {"ca-certfile": "ca.pem", "certfile": "server.pem", "keyfile": "server.key"}
        for flag, file in files.items():
            command += [f"--ssl-{flag}", str(server / file)]
        self._start("superlink", command)
        context = ssl.create_default_context(cafile=str(server / "ca.pem"))
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"https://{self.host}:{self.port}/health", context=context, timeout=5).close()
                return
            except OSError as error:
                if time.monotonic() > end or self.processes["superlink"].poll() is not None:
                    raise FlowerError(f"the SuperLink does not start ({error}): see {self.log('superlink')}") from error
                time.sleep(0.3)

    def start_node(self, number: int, key: Path | None = None, name: str | None = None) -> None:
        """Starts a site's SuperNode; it connects in its own time. With a `key` and `name` it is a second one."""
        site = self.sites[number]
        port = self.node_ports[number] if name is None else free_ports(1)[0]
        paths = {"settings": self.folder / "settings.toml", "data-dir": site / "images", "state-dir": site / "state"}
        own = " ".join(f'{setting}="{path}"' for setting, path in paths.items())
        command = ["flower-supernode", "--superlink", f"{self.host}:{self.port}", "--port", str(port)]
        command += ["--root-certificates", str(self.folder / "server" / "ca.pem")]
        command += ["--auth-supernode-private-key", str(key or site / "node.key")]
        self._start(name or site.name, [*self.prefix(number), *command, "--node-config", own])

    def prefix(self, number: int) -> list[str]:
        """What stands before a node's command; nothing, unless it is to run elsewhere."""
        return []

    def start_run(self, **config: str | int | float) -> str:
        """`flwr run` on the server's run folder; returns the run's id."""
        own = {"settings": str(self.folder / "settings.toml"), "run-dir": str(self.run_dir)}
        return self.flower.start_run(self.folder / "app", own | {k.replace("_", "-"): v for k, v in config.items()})

    @property
    def run_dir(self) -> Path:
        """The server's run folder."""
        return self.folder / "server" / "run"

    def log(self, name: str) -> Path:
        """Where a process writes."""
        return self.folder / "logs" / f"{name}.log"

    def kill(self, name: str) -> None:
        """SIGKILL: as if the power had failed."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Ends all processes, nodes first, and what they started; whoever does not listen is killed."""
        for name in sorted(self.processes, key=lambda name: name == "superlink"):
            self.processes[name].terminate()
        end = time.monotonic() + STOP_SECONDS
        for process in self.processes.values():
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()
        while (left := self.left_over()) and time.monotonic() < end:
            time.sleep(0.2)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def left_over(self) -> list[int]:
        """This fleet's processes that still run."""
        return processes_of(self.folder)

    def _start(self, name: str, command: list[str]) -> None:
        self._began[name] = time.monotonic()
        with open(self.log(name), "ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )


def processes_of(folder: Path) -> list[int]:
    """Processes that carry a fleet's folder in their environment (Linux; elsewhere Flower must see to them)."""
    mark, found = f"FLWR_HOME={folder.resolve() / 'flwr'}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def _leave(ending: int, frame: FrameType | None) -> NoReturn:
    """Ends this process as the signal says, by way of every `finally`."""
    raise SystemExit(128 + ending)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now."""
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        if len(found) == count:
            break
        with contextlib.suppress(OSError), socket.socket() as trial:
            trial.bind(("127.0.0.1", port))
            found.append(port)
    return found
