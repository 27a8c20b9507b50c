"""Generated pictures for the demo: discs, squares and stripes, grey, one sub-folder a class."""

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIDE = 32
CLASSES = ("disc", "square", "stripes")


def write_folder(folder: Path, images: int, seed: int) -> None:
    """Writes `images` pictures of each class; each seed has others."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(float)
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(images):
            x, y, size = rng.uniform(11, 21), rng.uniform(11, 21), rng.uniform(5, 10)
            # Signed distance to the shape's edge in pixels, positive inside.
            distance = {
                "disc": size - np.hypot(columns - x, rows - y),
                "square": size - np.maximum(abs(columns - x), abs(rows - y)),
                "stripes": 3 * np.sin((columns + rng.uniform(-0.5, 0.5) * rows) * 2 * np.pi / (size + 3) + x),
            }[name]
            grey = np.clip(distance + 0.5, 0, 1) * rng.uniform(180, 255)
            (folder / name / f"{number:04}.png").write_bytes(png(grey.astype(np.uint8)))


def png(grey: NDArray[np.uint8]) -> bytes:
    """A grey picture as a PNG file (RFC 2083): header, one deflated block of unfiltered rows, end."""
    height, width = grey.shape
    rows = b"".join(b"\0" + row.tobytes() for row in grey)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
