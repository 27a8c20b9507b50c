"""PRISM's federation: a `Client` for each site and one `Server`, which meet only as bytes.

```python
server = prism_fl.Server(settings, "run")              # settings: the text of a TOML file, the same for all
client = prism_fl.Client(settings, "images", "state", 0)  # opens, or resumes what its state folder holds

while server.phase == "setup":
    server.accept_setup(0, client.setup(server.setup_request(0)))
    server.end_setup()
while server.phase == "rounds":
    for k in server.ask([0]):
        server.accept(k, client.round(server.broadcast(k)))
    server.end_round()
model = server.export()
```

Every message carries a version and a checksum, and says which federation and round it belongs to. Both objects keep
all that they know in their folder, whole after each call: a process may die at any time and another one opens the
folder again. All calls release the GIL while they compute. An object belongs to one thread at a time; a folder
belongs to one object at a time.

All exceptions are one sentence with the value, the limit and the remedy. Failures that are nobody's mistake, such as
a full disk, are `OSError`.
"""

from typing import Any, Literal, final

__version__: str

class UsageError(ValueError):
    """A setting, a path or an order of calls that cannot work."""

class Refused(ValueError):
    """A message that is damaged, of another federation, version or round, or already answered; or one that asks for
    more than a client's privacy budget has left. The object is as it was before. The sentence is about the message and
    may be told to its sender."""

class NeedsSnapshot(RuntimeError):
    """A broadcast that this client cannot follow, since it missed an earlier one or its last answer was lost. Ask the
    server for `Server.snapshot` and give that to `Client.round`. The client is as it was before."""

@final
class Client:
    """A party that holds images and answers the server's messages."""

    def __init__(self, settings: str, data_dir: str, state_dir: str, client: int) -> None:
        """Opens client number `client`, whose images are in `data_dir` and whose memory is `state_dir`, which is
        created if missing. A state folder may serve several federations, one after the other: each has a folder in it,
        and one privacy ledger is kept for all.

        Raises `UsageError` where the settings are invalid, the images cannot be read or are not of the agreed kind, or
        the site has another number in this federation.
        """

    def setup(self, request: bytes) -> bytes:
        """Answers one setup request. The same request is answered with the same bytes, also by a later process: noise
        that protects images is drawn once.

        Raises `Refused`.
        """

    def round(self, broadcast: bytes) -> bytes:
        """Trains on a broadcast or a snapshot and returns the update.

        Raises `Refused`, `NeedsSnapshot`.
        """

@final
class Server:
    """The party that aggregates, and that may see only what clients send it."""

    def __init__(self, settings: str, run_dir: str) -> None:
        """Opens a new run in `run_dir`, or resumes the one that its checkpoint holds.

        Raises `UsageError` where the settings are invalid or are not those of the run in the folder.
        """

    @property
    def clients(self) -> int:
        """Number of clients, K; their numbers are 0 to K - 1."""

    @property
    def mode(self) -> Literal["rounds", "one-shot"]:
        """Whether clients train in rounds, or send their moments once and the server trains alone."""

    @property
    def phase(self) -> Literal["setup", "rounds", "finished"]:
        """What comes next."""

    @property
    def round(self) -> int:
        """The round that comes next, from 1."""

    @property
    def rounds(self) -> int:
        """Number of rounds, T."""

    def setup_request(self, client: int) -> bytes:
        """The setup phase's message to a client. May be asked for again."""

    def accept_setup(self, client: int, reply: bytes) -> None:
        """Takes a client's answer. A phase that did not end before the server was opened again asks all anew.

        Raises `Refused`.
        """

    def end_setup(self) -> None:
        """Ends this setup phase with the answers so far; the next one, or the first round, follows.

        Raises `UsageError` where they are too few.
        """

    def ask(self, available: list[int]) -> list[int]:
        """The clients that this round asks, out of those that can be reached. The same list gives the same choice."""

    def broadcast(self, client: int) -> bytes:
        """The round's message to a client. May be asked for again."""

    def snapshot(self, client: int) -> bytes:
        """The same for a client that cannot follow `broadcast`: the whole state instead of what changed."""

    def accept(self, client: int, update: bytes) -> None:
        """Takes a client's update.

        Raises `Refused`; the round goes on without it.
        """

    def end_round(self) -> dict[str, Any]:
        """Takes the server's step with the updates so far, and commits it; in one-shot mode trains a round alone.
        Returns the round's metrics, which also stand in `metrics.jsonl`.
        """

    def export(self) -> str:
        """Writes the finished model and returns its path. May be asked for again."""

def draw(model: str, png: str, images: int = 64) -> None:
    """Draws images from a model file into one PNG picture.

    Raises `UsageError` where the file is no model.
    """
