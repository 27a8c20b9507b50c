"""Which node is which client: decided once, by what the SuperLink authenticated, and kept in the run folder.

```json
{"version": 1, "clients": [{"client": 0, "identity": "key:9f86d0...", "name": "site-a"}]}
```

An identity is the SHA-256 of the public key with which the node signs its requests to the SuperLink. Nothing that a
node says about itself is read. To replace a site's key, stop the run and edit the file.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .files import write_whole

FILE = "clients.json"


class RosterError(RuntimeError):
    """The file cannot be used."""


@dataclass(frozen=True)
class Node:
    """A connected SuperNode, as the SuperLink knows it."""

    node_id: int
    public_key: bytes = b""
    name: str = ""
    # When the node was registered and when it last connected, as the SuperLink writes them.
    registered: str = ""
    connected: str = ""

    @property
    def identity(self) -> str:
        """What stays the same when the node, or the SuperLink with its database, starts again."""
        return f"key:{hashlib.sha256(self.public_key).hexdigest()}" if self.public_key else f"node:{self.node_id}"

    @property
    def label(self) -> str:
        """For people."""
        return self.name or f"node {self.node_id}"


@dataclass(frozen=True)
class Entry:
    """A client and whose it is."""

    client: int
    identity: str
    name: str


class Roster:
    """The clients of a federation of `clients` of them, read from and written to `folder`."""

    def __init__(self, folder: Path, clients: int) -> None:
        self.path = folder / FILE
        self.clients = clients
        self._entries = _read(self.path, clients) if self.path.exists() else {}

    @property
    def full(self) -> bool:
        """Whether each client has its node."""
        return len(self._entries) == self.clients

    def client_of(self, node: Node) -> int | None:
        """The node's number, if it has one."""
        entry = self._entries.get(node.identity)
        return None if entry is None else entry.client

    def enrol(self, nodes: Iterable[Node]) -> list[Node]:
        """Gives free numbers to new nodes, first registered first; returns those for whom none was left."""
        taken = {entry.client for entry in self._entries.values()}
        free = [client for client in range(self.clients) if client not in taken]
        new = sorted((n for n in nodes if n.identity not in self._entries), key=lambda n: (n.registered, n.node_id))
        for client, node in zip(free, new, strict=False):
            self._entries[node.identity] = Entry(client, node.identity, node.name)
        if free and new:
            self._write()
        return new[len(free) :]

    def label(self, client: int) -> str:
        """The client's number and name, for people."""
        name = next((e.name for e in self._entries.values() if e.client == client), "")
        return f"client {client} ({name})" if name else f"client {client}"

    def _write(self) -> None:
        entries = sorted(self._entries.values(), key=lambda entry: entry.client)
        text = json.dumps({"version": 1, "clients": [vars(entry) for entry in entries]}, indent=1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, text + "\n")


def _read(path: Path, clients: int) -> dict[str, Entry]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["version"] != 1:
            raise ValueError(f"version {record['version']} instead of 1")
        entries = [Entry(int(e["client"]), str(e["identity"]), str(e.get("name", ""))) for e in record["clients"]]
    except (ValueError, KeyError, TypeError) as error:
        remedy = "restore it, or the sites would change their numbers"
        raise RosterError(f"{path} cannot be read ({error}): {remedy}") from error
    numbers = [entry.client for entry in entries]
    if len(set(numbers)) < len(numbers) or len({e.identity for e in entries}) < len(entries):
        raise RosterError(f"{path} names a client or a key twice")
    if any(not 0 <= number < clients for number in numbers):
        raise RosterError(f"{path} has client {max(numbers)}, but the settings allow {clients}")
    return {entry.identity: entry for entry in entries}
