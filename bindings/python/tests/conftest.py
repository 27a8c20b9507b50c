"""Three tiny sites."""

import struct
import zlib
from pathlib import Path

import pytest

SETTINGS = """
[federation]
clients = 2
mode = "{mode}"
rounds = 2
local-steps = 2

[data]
name = "dots"
channels = 1
class-names = ["dark", "light"]
images = 16
partition = "sites"

[model]
image-size = 8
ngf = 4
latent = 8

[training]
encoder = "random:1"
batch-size = 8
classes-per-step = 2
"""


def png(grey: bytes, side: int, bits: int = 8) -> bytes:
    """A grey picture of 8 bits, or of 16 with the higher byte first, as a PNG file."""
    line = side * bits // 8
    rows = b"".join(b"\0" + grey[y * line : (y + 1) * line] for y in range(side))
    header = struct.pack(">IIBBBBB", side, side, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    parts = [struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.fixture
def sites(tmp_path: Path) -> list[Path]:
    """Folders of two sites, each with four images of two classes."""
    folders = []
    for site in range(2):
        for label, name in enumerate(("dark", "light")):
            folder = tmp_path / f"site-{site}" / name
            folder.mkdir(parents=True)
            for k in range(4):
                grey = bytes((40 + 120 * label + 7 * k + 3 * site + (x * y) % 30) for y in range(8) for x in range(8))
                (folder / f"{k}.png").write_bytes(png(grey, 8))
        folders.append(tmp_path / f"site-{site}")
    return folders


def settings(mode: str = "rounds") -> str:
    """The settings of a federation of the two."""
    return SETTINGS.format(mode=mode)
