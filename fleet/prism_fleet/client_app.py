"""A site's half of the Flower app: opens `prism_fl.Client` on the site's own folders and answers one message.

What a site is comes from its own command line (`flower-supernode --node-config`), never from the server: the images,
the state folder, and the settings that it agreed to. Each message is a process of its own; all that a client keeps is
in its state folder.

What leaves a site: the bytes that `prism_fl` returns, or one sentence. Sentences about the server's message go out as
they are; those about the site itself (paths, images) stay in its own log.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import prism_fl
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from .envelope import BadEnvelope, Reply, Request, differing_tables, digests
from .files import Busy, read_settings, sole_user

# A message may come while the process of an earlier one, whose node was killed, is still ending.
LOCK_PATIENCE = 30.0
KEYS = ("settings", "data-dir", "state-dir")

app = ClientApp()
log = logging.getLogger("flwr.prism")


class SiteError(ValueError):
    """The site's own configuration cannot be used."""


class Refusal(RuntimeError):
    """The site does not do what the message asks; the sentence may leave the site."""


@dataclass(frozen=True)
class Site:
    """What the site's operator wrote on the node's command line."""

    settings: str
    data_dir: Path
    state_dir: Path

    @classmethod
    def read(cls, config: dict[str, Any]) -> "Site":
        """From `--node-config`. Raises `SiteError`, `OSError`."""
        missing = [key for key in KEYS if not isinstance(config.get(key), str) or not config[key]]
        if missing:
            example = " ".join(f'{key}="..."' for key in KEYS)
            lacks = f"the node's configuration lacks {', '.join(missing)}"
            raise SiteError(f"{lacks}: flower-supernode --node-config '{example}'")
        settings, data_dir, state_dir = (Path(config[key]) for key in KEYS)
        return cls(read_settings(settings), data_dir, state_dir)

    def check(self, request: Request) -> None:
        """Raises `Refusal` where the server has another release or other settings than this site."""
        if request.release != prism_fl.__version__:
            versions = f"the server has prism-fl {request.release}, this site {prism_fl.__version__}"
            raise Refusal(f"{versions}: install the same release on both")
        if tables := differing_tables(digests(self.settings), request.settings):
            where = ", ".join(f"[{name}]" for name in tables)
            raise Refusal(f"the server's settings are not those of this site's file: they differ in {where}")

    def answer(self, request: Request) -> Reply:
        """Does what the message asks, with the state folder to itself."""
        self.check(request)
        with sole_user(self.state_dir, LOCK_PATIENCE):
            client = prism_fl.Client(self.settings, str(self.data_dir), str(self.state_dir), request.client)
            act: Callable[[bytes], bytes] = client.reply if request.kind == "exchange" else client.round
            if request.start:
                client.reply(request.start)
            try:
                return Reply("answer", request.nonce, act(request.payload))
            except prism_fl.NeedsSnapshot:
                return Reply("needs-snapshot", request.nonce)


def reply(content: RecordDict, config: dict[str, Any]) -> RecordDict:
    """The reply to a message. Never raises: Flower would send an exception's text, paths and all, to the server."""
    nonce = ""
    try:
        request = Request.unpack(content)
        nonce = request.nonce
        return Site.read(config).answer(request).pack()
    except (BadEnvelope, Refusal, prism_fl.Refused) as error:
        log.error("refused: %s", error)
        return Reply("refused", nonce, reason=str(error)).pack()
    except Busy as error:
        log.error("refused: %s", error)
        return Reply("refused", nonce, reason="the site's state folder is in use by another process").pack()
    except (KeyboardInterrupt, SystemExit):
        raise
    # A panic in `prism_fl` is no `Exception`.
    except BaseException as error:
        # What the site's people can mend is one sentence to them; what they cannot, comes with all its calls.
        mendable = isinstance(error, (SiteError, prism_fl.UsageError, OSError, RuntimeError))
        log.error("this site cannot answer: %s", error, exc_info=not mendable)
        reason = f"the site cannot answer ({type(error).__name__}); its own log says why"
        return Reply("refused", nonce, reason=reason).pack()


@app.query()
def exchange(message: Message, context: Context) -> Message:
    """Answers a request of an exchange."""
    return Message(reply(message.content, dict(context.node_config)), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Answers a broadcast."""
    return Message(reply(message.content, dict(context.node_config)), reply_to=message)
