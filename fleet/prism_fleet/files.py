"""Files that are whole or absent, and folders that one process uses at a time."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# How long another process of the site may take to be done with its state folder.
LOCK_PATIENCE = 15.0


class Busy(RuntimeError):
    """Another process uses the folder."""


def write_whole(path: Path, text: str) -> None:
    """Writes beside the file's place, syncs and renames: a reader finds the old text or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_settings(path: Path) -> str:
    """The text of a settings file. Raises `OSError` with a sentence that names the file and the remedy."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise OSError(f"cannot read the settings {path} ({why}): name the file that all sites agreed on") from error


@contextmanager
def sole_user(folder: Path, patience: float) -> Iterator[None]:
    """Holds the folder's lock, which ends with the process, however it ends. Raises `Busy` after `patience` seconds."""
    # What a site keeps is for itself.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(folder / ".prism-fleet.lock", "w", encoding="utf-8") as file:
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise Busy(f"another process uses {folder}: wait for its end, or stop it") from None
                time.sleep(0.1)
        yield
