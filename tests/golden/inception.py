#!/usr/bin/env python3
"""Makes inception.json: layers of pytorch-fid's InceptionV3 on weights that a short formula gives.

The weights are too many to store, so prism-nn/tests/inception.rs computes the same numbers by the same formula (`noise`),
writes them as a safetensors file in pytorch-fid's naming, loads that, and compares every layer. Of each layer the mean, the root
mean square and 8 single values are kept: for images of 75 pixels a side as they are, and for images that are resized first.

Also writes inception_shapes.txt, the shape of every convolution.

Needs torch, torchvision, pytorch-fid and numpy:   python tests/golden/inception.py > tests/golden/inception.json
"""

import json
import math
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytorch_fid.inception as fid
import torch

KEPT = 8


def noise(stream, shape, low, high):
    """`low + (high - low) * u` in f64, rounded to f32, with u = mix(index, stream) / 2^32 (MurmurHash3's finaliser)."""
    h = np.arange(math.prod(shape), dtype=np.uint32) * np.uint32(2654435761) + np.uint32(stream * 40503 & 0xFFFFFFFF)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return torch.from_numpy((low + (high - low) * (h / 2.0**32)).astype(np.float32)).reshape(shape)


def stream_of(name):
    """FNV-1a over the tensor's name."""
    h = 0x811C9DC5
    for byte in name.encode():
        h = (h ^ byte) * 0x01000193 & 0xFFFFFFFF
    return h


RANGES = {"bn.weight": (0.5, 1.5), "bn.bias": (-0.1, 0.1), "bn.running_mean": (-0.1, 0.1), "bn.running_var": (0.5, 1.5)}


def fill(state):
    for name, tensor in state.items():
        if name.endswith("conv.weight"):
            bound = math.sqrt(6.0 / math.prod(tensor.shape[1:]))
            state[name] = noise(stream_of(name), tuple(tensor.shape), -bound, bound)
        for end, (low, high) in RANGES.items():
            if name.endswith(end):
                state[name] = noise(stream_of(name), tuple(tensor.shape), low, high)
    return state


def save_shapes(state):
    """The shapes that the test fills."""
    ends = ".conv.weight"
    lines = [f"{name.removesuffix(ends)} {' '.join(map(str, t.shape))}" for name, t in state.items() if name.endswith(ends)]
    head = "# Made by inception.py: name and shape [outputs, inputs, height, width] of every convolution."
    Path(__file__).with_name("inception_shapes.txt").write_text("\n".join([head, *lines, ""]))


def network():
    blank = torch.nn.Module.load_state_dict
    fid.load_state_dict_from_url = lambda *_, **__: None

    def load(self, _):
        state = fill(self.state_dict())
        save_shapes(state)
        return blank(self, state)

    torch.nn.Module.load_state_dict = load
    model = fid.InceptionV3(output_blocks=[3]).eval()
    torch.nn.Module.load_state_dict = blank
    return model


def summary(name, feature):
    flat = feature.reshape(-1).double()
    picked = torch.arange(KEPT) * (flat.numel() // KEPT) + torch.arange(KEPT)
    return {
        "name": name,
        "shape": list(feature.shape),
        "mean": flat.mean().item(),
        "rms": flat.square().mean().sqrt().item(),
        "values": flat[picked].tolist(),
    }


NAMES = {
    (0, 0): "Conv2d_1a_3x3",
    (0, 1): "Conv2d_2a_3x3",
    (0, 2): "Conv2d_2b_3x3",
    (1, 0): "Conv2d_3b_1x1",
    (1, 1): "Conv2d_4a_3x3",
    **{(2, i): f"Mixed_{name}" for i, name in enumerate("5b 5c 5d 6a 6b 6c 6d 6e".split())},
    **{(3, i): f"Mixed_{name}" for i, name in enumerate("7a 7b 7c".split())},
}


def layers(model, images):
    found = []
    hooks = [
        # A copy, since the next layer may work in place.
        model.blocks[block][index].register_forward_hook(lambda _, __, y, name=name: found.append(summary(name, y.clone())))
        for (block, index), name in NAMES.items()
    ]
    model.resize_input = False
    model(images)
    model.resize_input = True
    for hook in hooks:
        hook.remove()
    return found


with torch.no_grad():
    model = network()
    large = noise(9999, (2, 3, 75, 75), -1.0, 1.0)
    small = noise(9998, (1, 1, 32, 32), -1.0, 1.0)
    golden = {
        "made_by": f"tests/golden/inception.py, pytorch-fid {version('pytorch-fid')}, torch {version('torch').split('+')[0]}, "
        f"torchvision {version('torchvision').split('+')[0]}",
        "layers": layers(model, (large + 1) / 2),
        "features": summary("features", model((small.expand(-1, 3, -1, -1) + 1) / 2)[0].reshape(1, -1)),
    }
print(json.dumps(golden, indent=1))
