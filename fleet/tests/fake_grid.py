"""A SuperLink and its nodes in one process and on a clock of its own, as Flower 1.42 was seen to behave.

The SuperLink drops a message whose node is away and says so once; it forgets a message whose time to live is over.
Unlike Flower's it hands on every reply that a message has when it is asked for, so that the app meets a second one.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import prism_fl
import tiny
from flwr.app import Error, Message
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from tiny import write_images

from prism_fleet.client_app import reply
from prism_fleet.envelope import digests
from prism_fleet.exchange import Fleet
from prism_fleet.federation import Limits, conduct
from prism_fleet.roster import Roster

# Subclasses are agreed on before the first round: two setups, then three rounds.
SETTINGS = tiny.settings(training={"subclasses": 2})
LIMITS = Limits(join=20.0, setup=60.0, round=60.0)


@dataclass
class FakeNode:
    """A site. `on_message` may stand in for its app; it returns the replies, each with the seconds it takes."""

    node_id: int
    config: dict[str, Any]
    online: bool = True
    connected: int = 0
    seconds: float = 1.0
    on_message: Callable[[Message], list[tuple[float, Message]]] | None = None
    received: list[Message] = field(default_factory=list)

    def answer(self, message: Message) -> list[tuple[float, Message]]:
        """What the site's app makes of a message."""
        self.received.append(message)
        if self.on_message is not None:
            return self.on_message(message)
        return [(self.seconds, self.genuine(message))]

    def genuine(self, message: Message) -> Message:
        """The real client app's reply."""
        return Message(reply(message.content, self.config), reply_to=message)


class FakeGrid(Grid):
    """Flower's grid: messages are answered when the clock has passed their time."""

    def __init__(self, nodes: list[FakeNode]) -> None:
        self.fakes = {node.node_id: node for node in nodes}
        self.now = 0.0
        # By message id: the message, until when it is kept, and whether its node has it.
        self.messages: dict[str, SimpleNamespace] = {}
        self.events: list[tuple[float, Callable[[], None]]] = []

    def at(self, when: float, event: Callable[[], None]) -> None:
        """Something that happens later."""
        self.events.append((when, event))

    def sleep(self, seconds: float) -> None:
        """Lets the clock run."""
        self.now += seconds
        while due := [event for event in self.events if event[0] <= self.now]:
            self.events = [event for event in self.events if event[0] > self.now]
            for _, event in sorted(due, key=lambda event: event[0]):
                event()

    def kill(self, node: FakeNode) -> None:
        """The node dies with what it holds; the SuperLink sees it at once."""
        node.online = False
        for entry in self.messages.values():
            if entry.node is node:
                entry.replies = []

    def restart(self, node: FakeNode) -> None:
        """The node connects again."""
        self.kill(node)
        node.online, node.connected = True, node.connected + 1

    def get_nodes(self) -> Iterable[NodeInfo]:
        return [
            NodeInfo(
                node_id=node.node_id,
                public_key=b"key of %d" % node.node_id,
                name=f"site-{node.node_id}",
                registered_at=f"{node.node_id:04}",
                last_activated_at=str(node.connected),
            )
            for node in self.fakes.values()
            if node.online
        ]

    def get_node_ids(self) -> Iterable[int]:
        return [node.node_id for node in self.get_nodes()]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        ids = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = message.object_id
            node = self.fakes[message.metadata.dst_node_id]
            key = message.metadata.message_id
            replies = [(self.now + after, answer) for after, answer in node.answer(message)] if node.online else []
            self.messages[key] = SimpleNamespace(
                node=node, message=message, end=self.now + message.metadata.ttl, replies=replies
            )
            ids.append(key)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        found: list[Message] = []
        for key in message_ids:
            entry = self.messages.get(key)
            if entry is None:
                continue
            if entry.end <= self.now:
                found.append(Message(Error(3, "expired"), reply_to=entry.message))
            elif not entry.node.online:
                found.append(Message(Error(5, "no heartbeat"), reply_to=entry.message))
            elif due := [answer for when, answer in entry.replies if when <= self.now]:
                found += due
            else:
                continue
            del self.messages[key]
        return found

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise NotImplementedError

    def create_message(self, *arguments: Any, **named: Any) -> Message:
        raise NotImplementedError

    def set_run(self, run: Any) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Any:
        raise NotImplementedError


def make_site(folder: Path, number: int, settings: str = SETTINGS) -> dict[str, Any]:
    """A site's folders and the configuration of its node."""
    site = folder / f"site-{number}"
    write_images(site / "images", number)
    (site / "settings.toml").write_text(settings)
    return {"settings": str(site / "settings.toml"), "data-dir": str(site / "images"), "state-dir": str(site / "state")}


def make_grid(folder: Path, sites: int = 3, settings: str = SETTINGS) -> FakeGrid:
    """A SuperLink with `sites` connected nodes, numbered from 10."""
    return FakeGrid([FakeNode(10 + k, make_site(folder, k, settings)) for k in range(sites)])


def run(grid: FakeGrid, folder: Path, settings: str = SETTINGS, limits: Limits = LIMITS) -> bytes:
    """One `flwr run`; returns the model's bytes."""
    server, clock = prism_fl.Server(settings, str(folder)), lambda: grid.now
    roster = Roster(folder, server.clients)
    fleet = Fleet(grid, roster, digests(settings), limits.concurrency, poll=1.0, clock=clock, sleep=grid.sleep)
    return Path(conduct(server, fleet, limits)).read_bytes()


def at_round(node: FakeNode, number: int, act: Callable[[Message], list[tuple[float, Message]]]) -> None:
    """Lets `act` answer in the place of the node's app in one round."""

    def on_message(message: Message) -> list[tuple[float, Message]]:
        if message.metadata.group_id == str(number):
            return act(message)
        return [(node.seconds, node.genuine(message))]

    node.on_message = on_message
