"""Stands in for the compiled `prism_fl` in tests: the same calls, and a model that is a hash of who answered what.

Table [standin] of the settings: `seconds` a client takes for a round, `setups` that the server holds, `budget`
answers that a client gives in its life.
"""

import hashlib
import json
import time
import tomllib
import zlib
from pathlib import Path
from typing import Any

__version__ = "0.1.0"


class UsageError(ValueError): ...


class Refused(ValueError): ...


class NeedsSnapshot(RuntimeError): ...


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _seal(message: dict[str, Any]) -> bytes:
    body = json.dumps(message, sort_keys=True).encode()
    return zlib.crc32(body).to_bytes(4, "big") + body


def _open(message: bytes, federation: str, kind: str) -> dict[str, Any]:
    if len(message) < 4 or zlib.crc32(message[4:]).to_bytes(4, "big") != message[:4]:
        raise Refused("the message is damaged: send it again")
    body: dict[str, Any] = json.loads(message[4:])
    if body["federation"] != federation or body["kind"] != kind:
        raise Refused("the message is of another federation or kind")
    return body


class _Folder:
    """State that is whole after each call."""

    def __init__(self, settings: str, folder: str, start: dict[str, Any]) -> None:
        tables = tomllib.loads(settings)
        self.federation = {"clients": 3, "mode": "rounds", "rounds": 3, **tables.get("federation", {})}
        self.standin = {"seconds": 0.0, "setups": 1, "budget": 1000, **tables.get("standin", {})}
        self.id = _digest(self.federation)
        self.path = Path(folder) / "state.json"
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.state: dict[str, Any] = (
            json.loads(self.path.read_text()) if self.path.exists() else {"id": self.id, **start}
        )
        if self.state["id"] != self.id:
            raise UsageError(f"{folder} holds another federation")

    def commit(self) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.state))
        new.replace(self.path)


class Client:
    def __init__(self, settings: str, data_dir: str, state_dir: str, client: int) -> None:
        self._images = sorted(path.name for path in Path(data_dir).rglob("*") if path.is_file())
        if not self._images:
            raise UsageError(f"no images in {data_dir}")
        self._folder = _Folder(settings, state_dir, {"round": 0, "answers": 0, "client": client})
        if self._folder.state["client"] != client:
            raise UsageError(f"this site is client {self._folder.state['client']}, not {client}")

    def _spend(self) -> None:
        self._folder.state["answers"] += 1
        if self._folder.state["answers"] > self._folder.standin["budget"]:
            raise Refused("the privacy budget is spent")

    def setup(self, request: bytes) -> bytes:
        body = _open(request, self._folder.id, "setup-request")
        self._spend()
        self._folder.commit()
        return _seal(
            {"federation": self._folder.id, "kind": "setup", "step": body["step"], "images": len(self._images)}
        )

    def round(self, broadcast: bytes) -> bytes:
        body, state = _open(broadcast, self._folder.id, "broadcast"), self._folder.state
        if not body["snapshot"] and state["round"] != body["round"] - 1:
            raise NeedsSnapshot(f"this client is at round {state['round']}, the broadcast is of round {body['round']}")
        self._spend()
        time.sleep(self._folder.standin["seconds"])
        state["round"] = body["round"]
        self._folder.commit()
        value = _digest(body["value"], self._images)
        return _seal({"federation": self._folder.id, "kind": "update", "round": body["round"], "value": value})


class Server:
    def __init__(self, settings: str, run_dir: str) -> None:
        start = {"phase": "setup", "step": 1, "round": 1, "value": "", "setup": {}}
        self._folder = _Folder(settings, run_dir, start)
        self._updates: dict[int, str] = {}
        if self._folder.standin["setups"] == 0 and self.phase == "setup":
            self._folder.state["phase"] = "rounds"

    @property
    def clients(self) -> int:
        return int(self._folder.federation["clients"])

    @property
    def mode(self) -> str:
        return str(self._folder.federation["mode"])

    @property
    def phase(self) -> str:
        return str(self._folder.state["phase"])

    @property
    def round(self) -> int:
        return int(self._folder.state["round"])

    @property
    def rounds(self) -> int:
        return int(self._folder.federation["rounds"])

    def setup_request(self, client: int) -> bytes:
        return _seal({"federation": self._folder.id, "kind": "setup-request", "step": self._folder.state["step"]})

    def accept_setup(self, client: int, reply: bytes) -> None:
        body = _open(reply, self._folder.id, "setup")
        if body["step"] != self._folder.state["step"]:
            raise Refused(f"the answer is to setup {body['step']}, this is {self._folder.state['step']}")
        self._folder.state["setup"][str(client)] = body["images"]
        self._folder.commit()

    def end_setup(self) -> None:
        state = self._folder.state
        state["value"] = _digest(state["value"], state["setup"])
        state["step"] += 1
        state["setup"] = {}
        if state["step"] > self._folder.standin["setups"]:
            state["phase"] = "rounds"
        self._folder.commit()

    def ask(self, available: list[int]) -> list[int]:
        return sorted(available)

    def _message(self, snapshot: bool) -> bytes:
        state = self._folder.state
        body = {"round": state["round"], "value": state["value"], "snapshot": snapshot}
        return _seal({"federation": self._folder.id, "kind": "broadcast", **body})

    def broadcast(self, client: int) -> bytes:
        return self._message(False)

    def snapshot(self, client: int) -> bytes:
        return self._message(True)

    def accept(self, client: int, update: bytes) -> None:
        body = _open(update, self._folder.id, "update")
        if body["round"] != self.round:
            raise Refused(f"the update is of round {body['round']}, this is round {self.round}")
        if client in self._updates:
            raise Refused(f"client {client} has answered round {self.round} already")
        self._updates[client] = body["value"]

    def end_round(self) -> dict[str, Any]:
        state, answers = self._folder.state, len(self._updates)
        if self.mode == "one-shot":
            time.sleep(self._folder.standin["seconds"])
        state["value"] = _digest(state["value"], state["round"], sorted(self._updates.items()))
        state["round"] += 1
        if state["round"] > self._folder.federation["rounds"]:
            state["phase"] = "finished"
        self._updates = {}
        self._folder.commit()
        return {"clients": answers, "loss": 1.0 / state["round"]}

    def export(self) -> str:
        path = self._folder.path.with_name("model.safetensors.zst")
        path.write_text(self._folder.state["value"])
        return str(path)


def draw(model: str, png: str, images: int = 64) -> None:
    Path(png).write_bytes(b"a picture of " + Path(model).read_bytes())
