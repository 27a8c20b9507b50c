"""What a site would send, tried on its own images with a server of its own: for the officer who has to say yes."""

import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import prism_fl


@dataclass(frozen=True)
class Message:
    """A message that would leave the site, and what it would answer."""

    title: str
    sent: int
    received: int
    times: int


def messages(settings: str, data_dir: Path) -> tuple[list[Message], bool]:
    """Plays setup and one round with client 0 alone, in a temporary folder; nothing leaves, no budget is spent.

    Also tells whether these are all kinds of messages: where a secure sum needs the other sites, the trial ends there.
    """
    found: list[Message] = []
    agreed = tomllib.loads(settings)
    privacy = agreed.get("privacy", {})
    summed_before = privacy.get("epsilon") is not None and str(privacy.get("trust", "")).startswith("secagg")
    summed_rounds = agreed.get("wire", {}).get("codec") == "sums"
    with tempfile.TemporaryDirectory() as folder:
        server = prism_fl.Server(settings, str(Path(folder) / "run"))
        client = prism_fl.Client(settings, str(data_dir), str(Path(folder) / "state"), 0)
        try:
            while exchange := server.exchange():
                request = server.request(0)
                reply = client.reply(request)
                found.append(Message(exchange[0], len(reply), len(request), 1))
                server.accept_reply(0, reply)
                server.end_exchange()
        except prism_fl.UsageError:
            if summed_before:
                return found, False
            raise
        if server.mode == "rounds" and summed_rounds:
            return found, False
        if server.phase == "rounds" and server.mode == "rounds" and 0 in server.ask([0]):
            broadcast = server.snapshot(0)
            update = client.round(broadcast)
            found.append(Message("round", len(update), len(broadcast), server.rounds))
    return found, True


def report(settings: str, data_dir: Path) -> str:
    """The page that `prism-fleet dry-run` prints."""
    tried, whole = messages(settings, data_dir)
    lines = [
        f"What a site with the images in {data_dir} would send. It was tried on this machine; nothing has left it.",
        "",
        f"{'message':<10}{'bytes sent':>14}{'received':>14}  how often",
    ]
    for each in tried:
        often = "once" if each.times == 1 else f"at most {each.times} times"
        lines.append(f"{each.title:<10}{each.sent:>14,}{each.received:>14,}  {often}")
    total = sum(each.sent * each.times for each in tried)
    lines += [f"{'in all':<10}{total:>14,}{'':>14}  at most, by this trial", ""]
    if not whole:
        lines += ["A secure sum needs the other sites, so what follows these messages could not be tried.", ""]
    return "\n".join(lines + promise(tomllib.loads(settings)))


def promise(settings: dict[str, Any]) -> list[str]:
    """What the agreed settings promise for the images."""
    privacy = settings.get("privacy", {})
    if privacy.get("epsilon") is None:
        return [
            "No differential privacy is agreed: the messages are computed from the images without noise.",
            "They hold no image, but nothing bounds what could be inferred from them (PRIVACY.md).",
        ]
    terms = ", ".join(f"{key} {value}" for key, value in privacy.items())
    return [f"Differential privacy is agreed: {terms}.", "PRIVACY.md says what these words promise, and on whose word."]
