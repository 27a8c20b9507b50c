"""PRISM's federation: a `Client` for each site and one `Server`, which meet only as bytes.

```python
server = prism_fl.Server(settings, "run")              # settings: the text of a TOML file, the same for all
client = prism_fl.Client(settings, "images", "state", 0)  # opens, or resumes what its state folder holds

while exchange := server.exchange():
    for k in exchange[1]:
        server.accept_reply(k, client.reply(server.request(k)))
    server.end_exchange()
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

What a site's people should read, such as an earlier draw of noise on the same images, goes to the logger `prism_fl`.

All exceptions are one sentence with the value, the limit and the remedy. Failures that are nobody's mistake, such as
a full disk, are `OSError`.
"""

from os import PathLike
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

__version__: str

class UsageError(ValueError):
    """A setting, a path or an order of calls that cannot work."""

class Refused(ValueError):
    """A message that is damaged, of another federation, version or round, or already answered. The object is as it was
    before. The sentence is about the message and may be told to its sender."""

class NeedsSnapshot(RuntimeError):
    """A broadcast that this client cannot follow, since it missed an earlier one, its last answer or its folder was lost,
    or it was away before the first round. Ask the server for `Server.start_request` and `Server.snapshot` and give them to
    `Client.reply` and `Client.round`. The client is as it was before."""

@final
class Client:
    """A party that holds images and answers the server's messages."""

    def __new__(cls, settings: str, data_dir: str, state_dir: str, client: int) -> Client:
        """Opens client number `client`, whose images are in `data_dir` and whose memory is `state_dir`, which is
        created if missing. A state folder may serve several federations, one after the other: each has a folder in it,
        and one privacy ledger is kept for all.

        Raises `UsageError` where the settings are invalid, the images cannot be read or are not of the agreed kind, or
        the site has another number in this federation.
        """

    @property
    def public_key(self) -> str:
        """Its Ed25519 public key as 64 hexadecimal digits, by which the others know it in secure sums. The private half
        is made when it is first needed and stays in the state folder.
        """

    def reply(self, request: bytes) -> bytes:
        """Answers one request of an exchange. The same request is answered with the same bytes, also by a later process: noise
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

    def __new__(cls, settings: str, run_dir: str) -> Server:
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

    def exchange(self) -> tuple[str, list[int]] | None:
        """What is to be exchanged now beside broadcasts and updates: its title and the clients to ask. Before the first
        round, and under secure sums in every round twice: once it has been asked for, and once its updates are closed.
        """

    def request(self, client: int) -> bytes:
        """The exchange's message to a client. May be asked for again."""

    def accept_reply(self, client: int, reply: bytes) -> None:
        """Takes a client's reply. An exchange that did not end before the server was opened again asks all anew.

        Raises `Refused`.
        """

    def end_exchange(self) -> None:
        """Ends the exchange with the replies so far; the next one, or the round, follows.

        Raises `UsageError` where they are too few.
        """

    def ask(self, available: list[int]) -> list[int]:
        """The clients that this round asks, out of those that can be reached. The same list gives the same choice."""

    def cohort(self) -> list[int]:
        """The clients to send the round's broadcast to, once its exchanges have ended."""

    def broadcast(self, client: int) -> bytes:
        """The round's message to a client. May be asked for again."""

    def snapshot(self, client: int) -> bytes:
        """The same for a client that cannot follow `broadcast`: the whole state instead of what changed."""

    def start_request(self) -> bytes | None:
        """What a client takes by `Client.reply` before a snapshot: what all agreed on before the first round. None where
        that is nothing."""

    def accept(self, client: int, update: bytes) -> None:
        """Takes a client's update.

        Raises `Refused`; the round goes on without it.
        """

    def close(self) -> None:
        """Closes the round to further updates; exchanges may follow."""

    def end_round(self) -> dict[str, Any]:
        """Takes the server's step with the updates so far, and commits it; in one-shot mode trains a round alone.
        Returns the round's metrics, which also stand in `metrics.jsonl`.
        """

    def export(self) -> str:
        """Writes the finished model, and `samples.png` drawn from it; returns the model's path. May be asked for again."""

def draw(model: str, png: str, images: int = 64) -> None:
    """Draws images from a model file into one PNG picture.

    Raises `UsageError` where the file is no model.
    """

@final
class Model:
    """A finished model, ready to draw. Image k depends on the seed and on k alone, so images are those of `prism-infer`;
    with `precision="i16"` bit for bit on every machine. Any number of threads may draw from one model; drawing releases
    the GIL and takes all cores.

    `label` is a class by name or number; several, as in `"cat,dog"` or `"0-3"`, take turns; `None` is all classes.

    Notebooks show a model as its first 64 images.
    """

    @property
    def info(self) -> dict[str, Any]:
        """What the model says about itself: its shape, data set, classes, training, and under `"privacy"` what protects
        the images that it was trained on."""

    def sample(
        self,
        n: int = 64,
        *,
        seed: int = 0,
        first: int = 0,
        label: int | str | None = None,
        precision: Literal["f32", "i16"] = "f32",
    ) -> NDArray[np.uint8]:
        """Images `first` to `first + n - 1`, of shape `[n, height, width, channels]`.

        Raises `UsageError` where the label does not exist, or the images are more than 256 MiB.
        """

    def interpolate(
        self,
        n: int = 2,
        *,
        steps: int = 8,
        seed: int = 0,
        label: int | str | None = None,
        precision: Literal["f32", "i16"] = "f32",
    ) -> NDArray[np.uint8]:
        """`steps` images on the way from each of `n` latents to the next, of shape
        `[(n - 1) * steps, height, width, channels]`.

        Raises `UsageError` as `sample`, or where `n` or `steps` is below 2.
        """

    def save_grid(
        self,
        path: str | PathLike[str],
        n: int = 64,
        *,
        seed: int = 0,
        label: int | str | None = None,
        precision: Literal["f32", "i16"] = "f32",
    ) -> None:
        """Writes the first `n` images as one picture in PNG, the one that `prism-infer` writes."""

    def _repr_png_(self) -> bytes: ...

    def push_to_hub(self, repository: str, *, private: bool = False) -> str:
        """Puts the model's file, a card that says what the model says about itself, and a picture of its first images
        into the repository `OWNER/NAME` of the Hugging Face hub, in one commit, and returns the repository's address. A
        repository that is not there is made; a card that is there is replaced. The token is the one that
        `huggingface_hub` finds.

        Raises `UsageError` where the package `huggingface_hub` is not installed, `RuntimeError` where the model's
        privacy claim does not follow from its noise, and what the package raises.
        """

    @staticmethod
    def from_pretrained(source: str | PathLike[str], *, revision: str | None = None) -> Model:
        """The same as `load`."""

def load(source: str | PathLike[str], *, revision: str | None = None) -> Model:
    """Opens a model's file, or the one in a run's folder. Where there is neither and `source` reads `OWNER/NAME`, it
    comes from that repository of the Hugging Face hub, at `revision`, through the package `huggingface_hub`.

    Raises `OSError` where it cannot be read, `RuntimeError` where it is cut short, altered or of another version,
    `UsageError` where the folder has no model or the package is not installed, and what the package raises.
    """
