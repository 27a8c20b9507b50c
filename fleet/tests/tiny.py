"""The smallest federations that train: sites with a few pictures of 8x8 pixels, a generator of a thousand weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from prism_fleet.pictures import png

CLASSES = ("dark", "light")
IMAGES_PER_CLASS = 4
SIDE = 8


def settings(clients: int = 3, mode: str = "rounds", **changes: dict[str, Any]) -> str:
    """A settings file; `changes` has values for the keys of its tables."""
    tables: dict[str, dict[str, Any]] = {
        "federation": {"clients": clients, "mode": mode, "rounds": 3, "local-steps": 1},
        "data": {
            "name": "sites",
            "channels": 1,
            "class-names": CLASSES,
            "images": clients * len(CLASSES) * IMAGES_PER_CLASS,
            "partition": "sites",
        },
        "model": {"image-size": SIDE, "ngf": 4, "latent": 4},
        "training": {"encoder": "random:1", "batch-size": 4, "classes-per-step": 2},
    }
    for table, values in changes.items():
        tables.setdefault(table, {}).update(values)
    return toml(tables)


def toml(tables: dict[str, dict[str, Any]]) -> str:
    """Tables of texts, numbers, truths and lists of these as TOML, whose values are then written as JSON's are."""
    lines = []
    for name, values in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join([*lines, ""])


def write_images(folder: Path, seed: int) -> None:
    """A site's images; each seed has others."""
    rng = np.random.default_rng(seed)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(IMAGES_PER_CLASS):
            grey = rng.integers(0, 120, (SIDE, SIDE)) + 130 * label
            (folder / name / f"{number}.png").write_bytes(png(grey.astype(np.uint8)))
