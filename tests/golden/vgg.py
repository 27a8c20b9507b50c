#!/usr/bin/env python3
"""Makes vgg.json: features of torchvision's VGG16, VGG19 and VGG19-BN on weights that a short formula gives.

The weights are too many to store, so prism-nn/tests/vgg.rs computes the same numbers by the same formula (`noise`),
writes them as a safetensors file in torchvision's naming, loads that, and compares every layer's features.
Of each layer the mean, the root mean square and 8 single values are kept.

Needs torch, torchvision and numpy:   python tests/golden/vgg.py > tests/golden/vgg.json
"""

import json
import math

import numpy as np
import torch
import torchvision

MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
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


def fill(features):
    """Overwrites every parameter; streams are 10 * layer index, plus 1 to 4 for what is not a weight."""
    for index, layer in enumerate(features):
        if isinstance(layer, torch.nn.Conv2d):
            bound = math.sqrt(6.0 / (layer.in_channels * 9))
            layer.weight.data = noise(10 * index, tuple(layer.weight.shape), -bound, bound)
            layer.bias.data = noise(10 * index + 1, tuple(layer.bias.shape), -0.1, 0.1)
        if isinstance(layer, torch.nn.BatchNorm2d):
            shape = (layer.num_features,)
            layer.weight.data = noise(10 * index, shape, 0.5, 1.5)
            layer.bias.data = noise(10 * index + 1, shape, -0.1, 0.1)
            layer.running_mean = noise(10 * index + 2, shape, -0.1, 0.1)
            layer.running_var = noise(10 * index + 3, shape, 0.5, 1.5)


def summary(feature):
    flat = feature.reshape(-1).double()
    picked = torch.arange(KEPT) * (flat.numel() // KEPT) + torch.arange(KEPT)
    return {
        "shape": list(feature.shape),
        "mean": flat.mean().item(),
        "rms": flat.square().mean().sqrt().item(),
        "values": flat[picked].tolist(),
    }


def reference(model, convs, shape):
    features = model.features.eval()
    fill(features)
    images = noise(9999, shape, -1.0, 1.0)
    x = images.expand(-1, 3, -1, -1)
    x = ((x + 1) / 2 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]
    layers = []
    for layer in features:
        # After the last ReLU comes a pool that an image of 16 pixels is too small for.
        if len(layers) == convs:
            break
        x = layer(x)
        if isinstance(layer, torch.nn.ReLU):
            layers.append(summary(x))
    return {"images": list(shape), "layers": layers}


with torch.no_grad():
    golden = {
        "made_by": f"tests/golden/vgg.py, torch {torch.__version__.split('+')[0]}, "
        f"torchvision {torchvision.__version__.split('+')[0]}",
        "vgg16": reference(torchvision.models.vgg16(weights=None, init_weights=False), 13, (2, 3, 32, 32)),
        "vgg19": reference(torchvision.models.vgg19(weights=None, init_weights=False), 16, (2, 3, 32, 32)),
        "vgg19_bn": reference(torchvision.models.vgg19_bn(weights=None, init_weights=False), 16, (2, 1, 16, 16)),
    }
print(json.dumps(golden, indent=1))
