#!/usr/bin/env python3
"""Makes replay.safetensors: three local training steps of PRISM in PyTorch, which prism-nn/tests/replay.rs repeats.

Weights, scores, masks, latents, encoder and target images all come from the named streams (prism_streams.py), so nothing
but the results is stored: images, features, loss and score gradients of each step, and the scores at the end.

Needs torch, numpy and safetensors:   python tests/golden/replay.py tests/golden/replay.safetensors
"""

import math
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import prism_streams as streams

SEED, ROUND, CLIENT = 11, 3, 2
IMAGE_SIZE, CHANNELS, NGF, LATENT, CLASSES, LABEL_SCALE = 16, 1, 4, 6, 2, 3.0
ENCODER = [4, "M", 6]
PER_CLASS, TARGETS_PER_CLASS, STEPS = 3, 8, 3


def layers():
    """Name, weight shape and fan-in of every masked layer, in the order of the format."""
    blocks = int(math.log2(IMAGE_SIZE)) - 2
    widths = [NGF << halvings for halvings in range(blocks, -1, -1)]
    inputs = LATENT + CLASSES
    found = [("first", (inputs, widths[0], 4, 4), inputs * 16)]
    for a, b in zip(widths, widths[1:]):
        found += [("conv1", (b, a, 3, 3), 9 * a), ("conv2", (b, b, 3, 3), 9 * b), ("skip", (b, a, 1, 1), a)]
    return found + [("last", (CHANNELS, NGF, 3, 3), 9 * NGF)]


def tensor(values, shape):
    return torch.from_numpy(np.asarray(values, dtype=np.float64).astype(np.float32)).reshape(shape)


def frozen_weights():
    made = []
    for index, (_, shape, fan_in) in enumerate(layers()):
        sigma = np.float32(math.sqrt(2.0 / fan_in))
        made.append(tensor(streams.signs(streams.key("sign", SEED, layer=index), math.prod(shape)) * sigma, shape))
    return made


def initial_scores():
    draw = lambda index, shape: streams.normals(streams.key("score", SEED, layer=index), math.prod(shape))
    return [tensor(draw(index, shape), shape).requires_grad_() for index, (_, shape, _) in enumerate(layers())]


class KeepStraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(_, theta, mask):
        return mask

    @staticmethod
    def backward(_, gradient):
        return gradient, None


def masked_weights(frozen, scores, step):
    made = []
    for index, (w, s) in enumerate(zip(frozen, scores)):
        theta = torch.sigmoid(s)
        key = streams.key("train-mask", SEED, round=ROUND, client=CLIENT, layer=index, index=step)
        mask = torch.from_numpy(streams.bernoulli(key, theta.detach().numpy()))
        made.append(w * KeepStraightThrough.apply(theta, mask))
    return made


def latents(step):
    key = streams.key("train-latent", SEED, round=ROUND, client=CLIENT, index=step)
    labels = torch.arange(CLASSES).repeat_interleave(PER_CLASS)
    normal = tensor(streams.normals(key, len(labels) * LATENT), (len(labels), LATENT))
    return torch.cat([normal, F.one_hot(labels, CLASSES).float() * LABEL_SCALE], 1)


def norm_relu(x):
    return F.relu(F.batch_norm(x, None, None, training=True))


def generate(z, weights):
    up = lambda x: F.interpolate(x, scale_factor=2, mode="nearest")
    x = F.conv_transpose2d(z[:, :, None, None], weights[0])
    for conv1, conv2, skip in zip(weights[1:-1:3], weights[2:-1:3], weights[3:-1:3]):
        h = F.conv2d(up(norm_relu(x)), conv1, padding=1)
        h = F.conv2d(norm_relu(h), conv2, padding=1)
        x = h + up(F.conv2d(x, skip))
    return torch.tanh(F.conv2d(norm_relu(x), weights[-1], padding=1))


def encoder_weights():
    made, inputs, index = [], 3, 0
    for step in ENCODER:
        if step == "M":
            made.append(None)
            continue
        weight = streams.normals(streams.key("encoder-weight", SEED, layer=index), step * inputs * 9)
        bias = streams.normals(streams.key("test", SEED, layer=index), step)
        made.append((tensor(weight * math.sqrt(2.0 / (9 * inputs)), (step, inputs, 3, 3)), tensor(bias * 0.1, (step,))))
        inputs, index = step, index + 1
    return made


def encode(images, encoder):
    x, features = images.expand(-1, 3, -1, -1), []
    for layer in encoder:
        if layer is None:
            x = F.max_pool2d(x, 2)
        else:
            x = F.relu(F.conv2d(x, *layer, padding=1))
            features.append(x)
    return features


def moments(features, images):
    """Mean and unbiased variance of each feature over the images of each class: two tensors [classes, D]."""
    grouped = features.reshape(CLASSES, images, -1)
    return grouped.mean(1), grouped.var(1)


def targets(encoder):
    count = CLASSES * TARGETS_PER_CLASS * CHANNELS * IMAGE_SIZE**2
    uniform = streams.uniforms(streams.key("test", SEED, index=1), count)
    images = tensor(uniform * 2 - 1, (-1, CHANNELS, IMAGE_SIZE, IMAGE_SIZE))
    return [moments(f, TARGETS_PER_CLASS) for f in encode(images, encoder)]


def loss(features, target):
    total = 0
    for f, (target_mean, target_variance) in zip(features, target):
        mean, variance = moments(f, PER_CLASS)
        scale = target_variance.mean(1)
        total = total + ((mean - target_mean).square().mean(1) / scale).mean()
        total = total + ((variance - target_variance).square().mean(1) / scale.square()).mean()
    return total


def main(path):
    frozen, scores, encoder = frozen_weights(), initial_scores(), encoder_weights()
    target = targets(encoder)
    adam = torch.optim.Adam(scores, lr=0.1, betas=(0.5, 0.999))
    stored = {}
    for step in range(STEPS):
        images = generate(latents(step), masked_weights(frozen, scores, step))
        features = encode(images, encoder)
        value = loss(features, target)
        adam.zero_grad()
        value.backward()
        stored[f"{step}.images"] = images
        stored[f"{step}.loss"] = value.reshape(1)
        stored |= {f"{step}.features.{i}": f for i, f in enumerate(features)}
        stored |= {f"{step}.gradients.{i}": s.grad.clone() for i, s in enumerate(scores)}
        adam.step()
        print(f"step {step}: loss {value.item():.6f}", file=sys.stderr)
    stored |= {f"scores.{i}": s for i, s in enumerate(scores)}
    made_by = f"tests/golden/replay.py, torch {torch.__version__.split('+')[0]}"
    save_file({k: v.detach().contiguous() for k, v in stored.items()}, path, {"made_by": made_by})


main(sys.argv[1])
