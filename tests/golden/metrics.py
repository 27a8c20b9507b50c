#!/usr/bin/env python3
"""Makes metrics.json: Frechet distance by pytorch-fid, precision, recall, density and coverage by prdc.

The features are too many to store, so prism-train/tests/metrics.rs computes the same numbers by the same formula (`noise`).
The generated ones are moved, some squeezed and some stretched, so that hardly a figure is 0 or 1.

Needs numpy, prdc and pytorch-fid:   python tests/golden/metrics.py > tests/golden/metrics.json
"""

import contextlib
import io
import json
import math
from importlib.metadata import version

import numpy as np
from prdc import compute_prdc
from pytorch_fid.fid_score import calculate_frechet_distance


def noise(stream, shape, low, high):
    """`low + (high - low) * u` in f64, with u = mix(index, stream) / 2^32 (MurmurHash3's finaliser)."""
    h = np.arange(math.prod(shape), dtype=np.uint32) * np.uint32(2654435761) + np.uint32(stream * 40503 & 0xFFFFFFFF)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return (low + (high - low) * (h / 2.0**32)).reshape(shape)


def case(real, generated, width, neighbours):
    a = noise(1, (real, width), -1.0, 1.0)
    b = noise(2, (generated, width), -1.0, 1.1) * (0.8 + 0.1 * (np.arange(generated) % 5))[:, None]
    distance = calculate_frechet_distance(
        a.mean(axis=0), np.cov(a, rowvar=False), b.mean(axis=0), np.cov(b, rowvar=False)
    )
    with contextlib.redirect_stdout(io.StringIO()):
        near = compute_prdc(real_features=a, fake_features=b, nearest_k=neighbours)
    return {
        "real": real,
        "generated": generated,
        "width": width,
        "neighbours": neighbours,
        "frechet_distance": float(distance),
        **{name: float(value) for name, value in near.items()},
    }


golden = {
    "made_by": f"tests/golden/metrics.py, prdc {version('prdc')}, pytorch-fid {version('pytorch-fid')}, "
    f"scipy {version('scipy')}, numpy {version('numpy')}",
    "cases": [case(200, 180, 3, 5), case(300, 300, 8, 3), case(400, 500, 40, 5), case(700, 650, 256, 1)],
}
print(json.dumps(golden, indent=1))
