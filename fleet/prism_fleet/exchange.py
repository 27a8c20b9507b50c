"""Asking clients and taking their replies, over Flower's Message API.

A `Fleet` knows who is connected. An `Exchange` puts one question to some clients, a setup request or a round's
broadcast, and ends when all have answered or its time is up. What it copes with, as Flower 1.42 behaves:

* A node that dies is known to be gone when its heartbeat has expired (about a minute); the SuperLink then drops the
  message and says `NODE_UNAVAILABLE`. It does the same to a live node whose heartbeat came late. Whoever comes back
  is asked again.
* A node that restarts quickly has lost the message in its memory, and nothing says so but the time of its last
  connection.
* An app that its node has not heard of for a minute counts as crashed, and its message as lost: it was killed, often
  for lack of memory. It is asked again, twice at most.
* An app that does not report within half a minute of its start is started a second time beside the first. Where many
  start at once on one machine, none may ever be done with starting: `Fleet.concurrency` asks few at a time.
* A reply that comes after its exchange has ended is named and dropped.
"""

import logging
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import prism_fl
from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from .envelope import BadEnvelope, Reply, Request, RequestKind, printable
from .roster import Node, Roster

# Flower's codes for a message that was dropped because its node was away, and for one that is too old or unknown.
NODE_UNAVAILABLE = 5
MESSAGE_GONE = (3, 4)
# Its code for an app that its node has lost sight of, and how often a client is asked again after it.
APP_CRASHED = 8
REPEATS = 2
# A message outlives its exchange by this much, so that a late reply can be told from a lost one.
GRACE_SECONDS = 60.0

log = logging.getLogger("flwr.prism")


@dataclass(frozen=True)
class Errand:
    """One question to clients, and what to do with the answers."""

    kind: RequestKind
    # For people and for Flower's log: "subclasses", "round 3".
    title: str
    # The bytes for a client; asked again for each repetition.
    request: Callable[[int], bytes]
    # Takes a client's answer, or raises `prism_fl.Refused`.
    accept: Callable[[int, bytes], None]
    # The bytes for a client that cannot follow `request`.
    snapshot: Callable[[int], bytes] | None = None
    # What goes with a snapshot: what was agreed on before the first round.
    start: Callable[[], bytes | None] | None = None


@dataclass(frozen=True)
class Outcome:
    """Who answered, and why the others did not."""

    answered: list[int]
    missing: dict[int, str]


@dataclass(frozen=True)
class Ask:
    """A message that is on its way."""

    client: int
    # Titles come again: every secure sum has an exchange of keys.
    exchange: "Exchange"
    nonce: str
    node: Node


@dataclass
class Fleet:
    """The connected nodes, by client number, and the messages on their way."""

    grid: Grid
    roster: Roster
    # What each request says of the server (`envelope.digests`).
    settings: tuple[str, ...]
    # Most clients that work at the same time; 0: all.
    concurrency: int = 0
    poll: float = 1.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    pending: dict[str, Ask] = field(default_factory=dict)
    _strangers: set[str] = field(default_factory=set)

    def nodes(self) -> list[Node]:
        """All nodes that the SuperLink believes to be connected."""
        infos = self.grid.get_nodes()
        return [Node(i.node_id, i.public_key, i.name, i.registered_at, i.last_activated_at) for i in infos]

    def online(self) -> dict[int, Node]:
        """The connected clients. New nodes get the numbers that are left; one that comes too late gets none."""
        nodes = self.nodes()
        for node in self.roster.enrol(nodes):
            if node.identity not in self._strangers:
                self._strangers.add(node.identity)
                taken = f"all {self.roster.clients} client numbers are taken ({self.roster.path})"
                log.warning("%s is ignored: %s", node.label, taken)
        numbered = ((self.roster.client_of(node), node) for node in nodes)
        return {client: node for client, node in numbered if client is not None}

    def gather(self, timeout: float) -> None:
        """Waits until all clients are connected, so that numbers follow the order of registration, not of arrival."""
        log.info("waiting for %d sites, at most %g s", self.roster.clients, timeout)
        end = self.clock() + timeout
        while self.clock() < end:
            found = self.online() if self.roster.full else self.nodes()
            if len(found) >= self.roster.clients:
                break
            self.sleep(self.poll)
        for client, node in sorted(self.online().items()):
            log.info("client %d is %s (%s)", client, node.label, node.identity[:20])

    def wait_for(self, count: int, timeout: float) -> dict[int, Node]:
        """The connected clients, as soon as there are `count`; those there are after `timeout` seconds."""
        end = self.clock() + timeout
        if len(self.online()) < count:
            log.warning("waiting for %d clients, at most %g s", count, timeout)
        while len(online := self.online()) < count and self.clock() < end:
            self.sleep(self.poll)
        return online

    def exchange(self, errand: Errand, clients: Iterable[int], timeout: float) -> Outcome:
        """Puts `errand` to `clients` and waits at most `timeout` seconds for each, from when its turn has come."""
        return Exchange(self, errand, clients, timeout).run()

    def pull(self) -> list[tuple[Ask, Message]]:
        """The replies that have come, each with what it replies to."""
        if not self.pending:
            return []
        found = []
        for reply in self.grid.pull_messages(list(self.pending)):
            if (ask := self.pending.pop(reply.metadata.reply_to_message_id, None)) is not None:
                found.append((ask, reply))
            else:
                log.warning("a reply to no message of ours is dropped")
        return found


class Exchange:
    """One errand on its way to some clients. `waiting` shrinks, `outcome` grows."""

    def __init__(self, fleet: Fleet, errand: Errand, clients: Iterable[int], timeout: float) -> None:
        self.fleet, self.errand, self.timeout = fleet, errand, timeout
        self.waiting = set(clients)
        self.outcome = Outcome([], {})
        # The last message to each client, if it is not known to be lost, and who needs a snapshot.
        self._asked: dict[int, Ask] = {}
        self._snapshots: set[int] = set()
        # How often a client's app has crashed.
        self._crashes: dict[int, int] = {}
        # Until when each is waited for.
        self._due = dict.fromkeys(self.waiting, fleet.clock() + timeout)

    def run(self) -> Outcome:
        """Asks, polls and repeats until nobody is waited for or the time is up."""
        while True:
            online = self.fleet.online() if self.waiting else {}
            self._ask(online)
            for ask, reply in self.fleet.pull():
                self._take(ask, reply)
            self._give_up(online)
            if not self.waiting:
                break
            self.fleet.sleep(self.fleet.poll)
        self.outcome.answered.sort()
        return self.outcome

    def _ask(self, online: dict[int, Node]) -> None:
        """Sends to each client that is waited for and connected, unless this connection already has its message."""
        for client in sorted(self.waiting & online.keys(), key=lambda c: (self._crashes.get(c, 0), c)):
            node, last = online[client], self._asked.get(client)
            if last is not None:
                if (last.node.node_id, last.node.connected) == (node.node_id, node.connected):
                    continue
                log.info("%s: %s started again and is asked again", self.errand.title, self._label(client))
            elif 0 < self.fleet.concurrency <= len(self.waiting & online.keys() & self._asked.keys()):
                # Its turn has not come, so its time has not begun.
                self._due[client] = self.fleet.clock() + self.timeout
                continue
            self._send(client, node)

    def _give_up(self, online: dict[int, Node]) -> None:
        """Ends the wait for those whose time is up."""
        late = {client for client in self.waiting if self.fleet.clock() >= self._due[client]}
        for client in late:
            state = "no answer" if client in online else "not connected"
            self.outcome.missing[client] = f"{state} within {self.timeout:g} s"
        self.waiting -= late

    def _send(self, client: int, node: Node) -> None:
        snapshot = client in self._snapshots
        source = self.errand.snapshot if snapshot else self.errand.request
        assert source is not None, "a snapshot is asked for only where there is one"
        start = self.errand.start() if snapshot and self.errand.start is not None else None
        nonce, release, settings = secrets.token_hex(16), prism_fl.__version__, self.fleet.settings
        request = Request(self.errand.kind, client, source(client), nonce, release, settings, start or b"")
        message = Message(
            request.pack(),
            node.node_id,
            MessageType.QUERY if self.errand.kind == "exchange" else MessageType.TRAIN,
            ttl=self.timeout + GRACE_SECONDS,
            # Flower's own log says ROUND before it.
            group_id=self.errand.title.removeprefix("round "),
        )
        # One push a message: a broadcast may have megabytes, and Flower limits what one push may have.
        ids = list(self.fleet.grid.push_messages([message]))
        if not ids or not ids[0]:
            return self._miss(client, "the SuperLink did not take the message")
        self._asked[client] = self.fleet.pending[ids[0]] = Ask(client, self, nonce, node)

    def _take(self, ask: Ask, reply: Message) -> None:
        current = self._asked.get(ask.client) is ask
        if reply.has_error():
            if current:
                self._fail(ask.client, reply.error.code, reply.error.reason or "")
            return
        if ask.exchange is not self or ask.client not in self.waiting:
            log.warning("%s: late answer to %s is dropped", self._label(ask.client), ask.exchange.errand.title)
            return
        try:
            answer = Reply.unpack(reply.content)
        except BadEnvelope as error:
            return self._miss(ask.client, str(error))
        genuine = answer.nonce == ask.nonce and reply.metadata.src_node_id == ask.node.node_id
        if answer.kind != "refused" and not genuine:
            return self._miss(ask.client, "the reply is to another message than it says")
        self._read(ask.client, answer)

    def _read(self, client: int, answer: Reply) -> None:
        if answer.kind == "refused":
            self._miss(client, f"refused by the site: {answer.reason}")
        elif answer.kind == "needs-snapshot":
            if self.errand.snapshot is None or client in self._snapshots:
                return self._miss(client, "asks for a snapshot again")
            log.info("%s: %s gets a snapshot", self.errand.title, self._label(client))
            self._snapshots.add(client)
            self._asked.pop(client, None)
        else:
            try:
                self.errand.accept(client, answer.payload)
            except prism_fl.Refused as error:
                return self._miss(client, f"refused by the server: {error}")
            self.waiting.discard(client)
            self.outcome.answered.append(client)
            log.info("%s: %s answered, %d bytes", self.errand.title, self._label(client), len(answer.payload))

    def _fail(self, client: int, code: int, reason: str) -> None:
        """An error of Flower's: the message was lost with its node, or the site's app failed."""
        if code == NODE_UNAVAILABLE or code in MESSAGE_GONE:
            # Asked again as soon as it is connected.
            self._asked.pop(client, None)
            log.warning("%s: %s is gone; it is asked again when it is back", self.errand.title, self._label(client))
        elif code == APP_CRASHED and (crashes := self._crashes.get(client, 0)) < REPEATS:
            self._crashes[client] = crashes + 1
            self._asked.pop(client, None)
            log.warning("%s: %s: its app crashed and is asked again", self.errand.title, self._label(client))
        else:
            self._miss(client, f"its app failed (Flower's code {code}): {printable(reason)}")

    def _miss(self, client: int, reason: str) -> None:
        self.waiting.discard(client)
        self.outcome.missing[client] = reason
        log.warning("%s: %s: %s", self.errand.title, self._label(client), reason)

    def _label(self, client: int) -> str:
        return self.fleet.roster.label(client)
