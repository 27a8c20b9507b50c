#!/usr/bin/env python3
"""A second reader of messages of moments (FORMAT.md, section 5.6), written from the text alone, in Python and NumPy.

    moments_reader.py MESSAGE FORM.json EXPECTED.npy
    moments_reader.py MESSAGE counts EXPECTED.npy

FORM.json has what both sides know: {"groups", "subclasses", "layers": [[channels, side], ...]}. EXPECTED.npy has, for every layer and group,
the means and then the mean squared deviations that another program read: they must agree within 1e-6 of the largest. Exits with 0 if
they do, with 1 if anything differs, with 77 if NumPy is not installed. A message of counts must have those of EXPECTED.npy, all of them.
"""

import hashlib
import json
import math
import struct
import sys

try:
    import numpy as np
except ImportError:
    print("skipped: NumPy is not installed")
    sys.exit(77)


class Decoder:
    """The range decoder of section 2, with adaptive bits of section 5.2."""

    def __init__(self, code):
        self.code, self.range = int.from_bytes(code[:4], "big"), 2**32 - 1
        self.rest = iter(code[4:])

    def bit(self, p):
        bound = self.range * p >> 16
        one = self.code < bound
        if one:
            self.range = bound
        else:
            self.code -= bound
            self.range -= bound
        while self.range < 2**24:
            self.range <<= 8
            self.code = (self.code << 8 | next(self.rest)) & 0xFFFFFFFF
        return one

    def adaptive(self, counts):
        p = (65536 * (2 * counts[1] + 1)) // (2 * (counts[0] + counts[1]) + 2)
        one = self.bit(min(max(p, 1), 65535))
        counts[one] += 1
        if sum(counts) >= 1024:
            counts[:] = [counts[0] // 2, counts[1] // 2]
        return one

    def number(self, model, limit):
        length = 0
        while length < limit and self.adaptive(model["length"][length]):
            length += 1
        number = 1
        for i in reversed(range(length)):
            bit = self.adaptive(model["second"][length]) if i + 1 == length else self.bit(32768)
            number = number << 1 | bit
        return number - 1


def tree(groups, subclasses):
    """The nodes: row, parent, weight, level, left row, share."""
    nodes = [[0, 0, float(sum(images for _, images in groups)), 0, 0, 0.0]]

    def divide(first, last, parent):
        if last - first < 2:
            return
        a, b = groups[first][0], groups[last - 1][0]
        classes = a // subclasses < b // subclasses
        unit = subclasses if classes else 1
        middle = unit * math.ceil((a // unit + b // unit) / 2)
        at = next(row for row in range(first, last) if groups[row][0] >= middle)
        left = sum(images for _, images in groups[first:at])
        right = sum(images for _, images in groups[at:last])
        share = right / (left + right)
        nodes.append([at, parent, left * right / (left + right), 1 if classes else 2, first, share])
        node = len(nodes) - 1
        divide(first, at, node)
        divide(at, last, node)

    divide(0, len(groups), 0)
    return nodes


def integers(code, channels, side, nodes):
    """Every coefficient, [channel][kind][node][v][u]."""
    decoder = Decoder(code)
    flags, numbers, signs = {}, {}, {}
    fresh = lambda: {"length": [[0, 0] for _ in range(30)], "second": [[0, 0] for _ in range(31)]}
    found = np.zeros((channels, 2, len(nodes), side, side), dtype=np.int64)
    length = lambda n, most: min(int(n).bit_length(), most)
    sign = lambda n: 0 if n == 0 else 1 if n > 0 else 2
    for channel, kind, node, v, u in np.ndindex(found.shape):
        own = np.pad(np.abs(found[channel, kind, node]), ((2, 0), (2, 1)))[v : v + 3, u : u + 4]
        near = 2 * own[1, 2] + 2 * own[2, 1] + own[1, 1] + own[1, 3] + own[0, 2] + own[2, 0]
        parent = nodes[node][1]
        above = found[channel, kind, parent, v, u] if node else 0
        tree = 2 * abs(above) + (abs(found[channel, kind, nodes[parent][1], v, u]) if node else 0)
        mean = found[channel, 0, node, v, u] if kind else 0
        place = 3 * kind + nodes[node][3]
        context = (place, length(v + u, 6), length(near, 5), length(tree, 4), min(abs(mean), 2))
        zero, one = flags.setdefault(context, ([0, 0], [0, 0]))
        if not decoder.adaptive(zero):
            continue
        size = 1
        if decoder.adaptive(one):
            context = (place, length(near + tree + 2 * abs(mean), 10))
            size = 2 + decoder.number(numbers.setdefault(context, fresh()), 29)
        negative = decoder.adaptive(signs.setdefault((place, sign(mean), sign(above)), [0, 0]))
        found[channel, kind, node, v, u] = -size if negative else size
    return found


def basis(side):
    v, r = np.mgrid[:side, :side]
    return np.where(v == 0, math.sqrt(1 / side), math.sqrt(2 / side) * np.cos(np.pi * v * (2 * r + 1) / (2 * side)))


def values(found, nodes, quality, unit, share):
    """Means and mean squared deviations, [kind][group][channel][row][column]."""
    channels, _, count, side, _ = found.shape
    b = basis(side)
    q = 2.0 ** (quality / 8 - 4)
    both = np.zeros((2, count, channels, side, side))
    for kind, step in enumerate([math.sqrt(unit * share), unit * math.sqrt(share)]):
        for node, (row, _, weight, *_) in enumerate(nodes):
            both[kind, row] = found[:, kind, node] * (q * step / math.sqrt(weight))
        for row, _, _, _, left, part in nodes[1:]:
            both[kind, left] -= part * both[kind, row]
            both[kind, row] += both[kind, left]
    both = np.einsum("vr,kgcvu,us->kgcrs", b, both, b)
    return both


def payload_of(message, kind):
    assert message[:4] == b"PRSO" and struct.unpack("<HH", message[4:8]) == (2, kind), "magic, version and kind"
    payload = message[24:]
    assert struct.unpack("<Q", message[8:16])[0] == len(payload)
    assert hashlib.sha256(message[:16] + payload).digest()[:8] == message[16:24], "checksum"
    return payload


def counts(code, count):
    decoder, found = Decoder(code), [0, 0]
    models = [{part: [[0, 0] for _ in range(32)] for part in ("length", "second")} for _ in range(3)]
    for _ in range(count):
        found.append(decoder.number(models[(found[-1] != 0) + (found[-2] != 0)], 31))
    return found[2:]


def main():
    message, expected = open(sys.argv[1], "rb").read(), np.load(sys.argv[3])
    if sys.argv[2] == "counts":
        found = counts(payload_of(message, 8), len(expected))
        print(f"{len(found)} counts")
        return 0 if found == expected.tolist() else 1
    form, payload = json.load(open(sys.argv[2])), payload_of(message, 1)

    quality, count = struct.unpack("<BI", payload[:5])
    groups = [struct.unpack("<II", payload[5 + 8 * i : 13 + 8 * i]) for i in range(count)]
    nodes, at = tree(groups, form["subclasses"]), 5 + 8 * count
    most = max(channels * side * side for channels, side in form["layers"])
    found = []
    for channels, side in form["layers"]:
        unit, length = struct.unpack("<fI", payload[at : at + 8])
        code = payload[at + 8 : at + 8 + length]
        at += 8 + length
        if unit == 0:
            assert length == 0
            found.append(np.zeros((count, 2 * channels * side * side)))
            continue
        share = channels * side * side / most
        both = values(integers(code, channels, side, nodes), nodes, quality, unit, share)
        both[1, [images == 1 for _, images in groups]] = 0.0
        found.append(both.transpose(1, 0, 2, 3, 4).reshape(count, -1))
    assert at == len(payload), "bytes after the last layer"
    found = np.concatenate([layer.ravel() for layer in found])
    worst = float(np.abs(found - expected).max() / np.abs(expected).max())
    print(f"moments of {count} groups: largest difference {worst:.3g} of the largest")
    return 0 if worst <= 1e-6 else 1


if __name__ == "__main__":
    sys.exit(main())
