"""What a Flower message holds: bytes of `prism_fl`, and a note beside them.

```text
Request   server -> node   request of an exchange, broadcast or snapshot
Reply     node -> server   answer, a wish for a snapshot, or a refusal of one sentence
```

The bytes have their own header, version and checksum (FORMAT.md); Flower only carries them. They travel as an
`Array`, which Flower cuts into chunks that are addressed by their hash: one broadcast to all nodes is stored once.
"""

import hashlib
import json
import tomllib
from dataclasses import dataclass
from typing import Literal, cast

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

VERSION = 2
STYPE = f"prism.bytes/{VERSION}"
PAYLOAD, START, NOTE = "prism.payload", "prism.start", "prism.note"
# A refusal is one sentence; a hostile node must not fill the server's log.
MAX_REASON = 500
# This table of a settings file is a machine's own; all others are the same for a server and its clients.
OWN_TABLES = {"run"}

RequestKind = Literal["exchange", "round"]
ReplyKind = Literal["answer", "needs-snapshot", "refused"]


class BadEnvelope(ValueError):
    """A Flower message that is none of ours, or of another version."""


@dataclass(frozen=True)
class Request:
    """What the server asks a client."""

    kind: RequestKind
    # The number of the client that is asked. A node learns it here; it never says it.
    client: int
    payload: bytes
    # Random for each message, echoed in the reply: a node cannot answer for another one.
    nonce: str
    # Version of the server's `prism_fl`: clients with another one might compute other bytes.
    release: str
    # `digests` of the server's settings.
    settings: tuple[str, ...]
    # What goes to the client before a snapshot does: what was agreed on before the first round.
    start: bytes = b""

    def pack(self) -> RecordDict:
        """The message's content."""
        note = ConfigRecord({"kind": self.kind, "client": self.client, "nonce": self.nonce})
        note["release"] = self.release
        note["settings"] = list(self.settings)
        return _pack(note, {PAYLOAD: self.payload, START: self.start})

    @classmethod
    def unpack(cls, content: RecordDict) -> "Request":
        """Raises `BadEnvelope`."""
        note = _note(content)
        kind = cast(RequestKind, _one_of(note, "kind", ("exchange", "round")))
        client, settings = note.get("client"), note.get("settings")
        if not isinstance(settings, list) or not isinstance(client, int) or client < 0:
            raise BadEnvelope("the message's note lacks the client's number or the server's settings")
        nonce, release = _text(note, "nonce"), _text(note, "release")
        payload, start = _bytes(content, PAYLOAD), _bytes(content, START)
        return cls(kind, client, payload, nonce, release, tuple(map(str, settings)), start)


@dataclass(frozen=True)
class Reply:
    """What a client answers."""

    kind: ReplyKind
    nonce: str
    payload: bytes = b""
    reason: str = ""

    def pack(self) -> RecordDict:
        """The message's content."""
        note = ConfigRecord({"kind": self.kind, "nonce": self.nonce, "reason": self.reason[:MAX_REASON]})
        return _pack(note, {PAYLOAD: self.payload})

    @classmethod
    def unpack(cls, content: RecordDict) -> "Reply":
        """Raises `BadEnvelope`."""
        note = _note(content)
        kind = cast(ReplyKind, _one_of(note, "kind", ("answer", "needs-snapshot", "refused")))
        return cls(kind, _text(note, "nonce"), _bytes(content, PAYLOAD), printable(_text(note, "reason")))


def printable(text: str) -> str:
    """A node's words in one short line: no control characters in our log."""
    return "".join(c if c.isprintable() else " " for c in text[:MAX_REASON])


def digests(settings: str) -> tuple[str, ...]:
    """For each table that server and clients have in common, `name:digest`: says which one differs, not how."""
    tables = {name: table for name, table in tomllib.loads(settings).items() if name not in OWN_TABLES}
    return tuple(f"{name}:{_digest(table)}" for name, table in sorted(tables.items()))


def differing_tables(ours: tuple[str, ...], theirs: tuple[str, ...]) -> list[str]:
    """The names of the tables that are not the same in two `digests`."""
    return sorted({entry.rpartition(":")[0] for entry in set(ours) ^ set(theirs)})


def _digest(table: object) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _pack(note: ConfigRecord, parts: dict[str, bytes]) -> RecordDict:
    note["version"] = VERSION
    content = RecordDict({NOTE: note})
    for name, part in parts.items():
        if part:
            array = Array(dtype="uint8", shape=(len(part),), stype=STYPE, data=part)
            content[name] = ArrayRecord({"bytes": array})
    return content


def _note(content: RecordDict) -> ConfigRecord:
    note = content.get(NOTE)
    if not isinstance(note, ConfigRecord):
        raise BadEnvelope("the message is none of prism-fleet's")
    if (version := note.get("version")) != VERSION:
        versions = f"the message has version {version!r}, this app speaks {VERSION}"
        raise BadEnvelope(f"{versions}: install the same prism-fleet")
    return note


def _bytes(content: RecordDict, name: str) -> bytes:
    record = content.get(name)
    if record is None:
        return b""
    array = record.get("bytes") if isinstance(record, ArrayRecord) else None
    if (
        not isinstance(array, Array)
        or (array.stype, array.dtype) != (STYPE, "uint8")
        or array.shape != (len(array.data),)
    ):
        raise BadEnvelope(f"the message's {name} is not an array of {STYPE}")
    return array.data


def _text(note: ConfigRecord, key: str) -> str:
    value = note.get(key)
    if not isinstance(value, str):
        raise BadEnvelope(f"the message's note has no text '{key}'")
    return value


def _one_of(note: ConfigRecord, key: str, known: tuple[str, ...]) -> str:
    value = _text(note, key)
    if value not in known:
        raise BadEnvelope(f"the message's {key} is '{printable(value)}', none of {', '.join(known)}")
    return value
