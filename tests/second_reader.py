#!/usr/bin/env python3
"""A second reader of PRISM artifacts, written from FORMAT.md alone, in Python and NumPy.

    second_reader.py MODEL.safetensors.zst [--npy IMAGES.npy] [--seed S]

Rebuilds the generator in f64, checks the payload hash and the known answer, and, with --npy, compares the images that
another program drew under sampling seed S with its own: they must agree within 1e-4. Exits with 0 if all is well, with 1 if
anything differs, with 77 if something that it needs is not installed (NumPy; the zstandard module or the zstd program).
"""

import argparse
import hashlib
import json
import math
import shutil
import struct
import subprocess
import sys

try:
    import numpy as np
except ImportError:
    print("skipped: NumPy is not installed")
    sys.exit(77)

TOLERANCE = 1e-4


# --- Section 1: random streams ---------------------------------------------------------------------------------------


def stream_key(purpose, seed, layer=0, index=0):
    name = b"prism-stream-v1\0" + purpose.encode() + b"\0"
    return hashlib.sha256(name + struct.pack("<5Q", seed, 0, 0, layer, index)).digest()


def chacha20(key, length):
    """The first `length` bytes of the keystream under a nonce of zeros; all blocks are computed side by side."""
    blocks = -(-length // 64)
    state = np.zeros((16, blocks), dtype=np.uint32)
    state[:4] = np.frombuffer(b"expand 32-byte k", dtype="<u4")[:, None]
    state[4:12] = np.frombuffer(key, dtype="<u4")[:, None]
    state[12] = np.arange(blocks, dtype=np.uint32)
    x = state.copy()

    def rotate(value, bits):
        return (value << np.uint32(bits)) | (value >> np.uint32(32 - bits))

    def quarter(a, b, c, d):
        x[a] += x[b]
        x[d] = rotate(x[d] ^ x[a], 16)
        x[c] += x[d]
        x[b] = rotate(x[b] ^ x[c], 12)
        x[a] += x[b]
        x[d] = rotate(x[d] ^ x[a], 8)
        x[c] += x[d]
        x[b] = rotate(x[b] ^ x[c], 7)

    for _ in range(10):
        for column in range(4):
            quarter(column, 4 + column, 8 + column, 12 + column)
        for column in range(4):
            quarter(column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
    return (x + state).T.astype("<u4").tobytes()[:length]


def component_of(components, seed, index):
    (number,) = struct.unpack("<Q", chacha20(stream_key("component", seed, index=index), 8))
    return (number >> 11) * components >> 53


def normals(key, count):
    pairs = -(-count // 2)
    words = struct.unpack(f"<{2 * pairs}Q", chacha20(key, 16 * pairs))
    uniforms = [(word >> 11) / 2**53 for word in words]
    out = []
    for u, v in zip(uniforms[::2], uniforms[1::2]):
        radius = math.sqrt(-2.0 * math.log(1.0 - u))
        out += [radius * math.cos(2.0 * math.pi * v), radius * math.sin(2.0 * math.pi * v)]
    return np.array(out[:count], dtype=np.float32)


# --- Section 2: architecture -----------------------------------------------------------------------------------------


def layers_and_norms(arch):
    blocks = arch["image_size"].bit_length() - 1 - 2
    widths = [arch["ngf"] << (blocks - b) for b in range(blocks + 1)]
    inputs = arch["latent"] + arch["classes"]
    layers, norms = [("first", [inputs, widths[0], 4, 4], inputs * 16)], []
    for b in range(blocks):
        wide, narrow = widths[b], widths[b + 1]
        layers.append((f"blocks.{b}.conv1", [narrow, wide, 3, 3], wide * 9))
        layers.append((f"blocks.{b}.conv2", [narrow, narrow, 3, 3], narrow * 9))
        layers.append((f"blocks.{b}.skip", [narrow, wide, 1, 1], wide))
        norms += [(f"blocks.{b}.bn1", wide), (f"blocks.{b}.bn2", narrow)]
    layers.append(("last", [arch["channels"], arch["ngf"], 3, 3], arch["ngf"] * 9))
    norms.append(("bn", arch["ngf"]))
    return layers, norms


# --- Section 4: the artifact -----------------------------------------------------------------------------------------


def decompress(path):
    with open(path, "rb") as file:
        packed = file.read()
    try:
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    except ImportError:
        pass
    if shutil.which("zstd") is None:
        print("skipped: neither the zstandard module nor the zstd program is installed")
        sys.exit(77)
    return subprocess.run(["zstd", "-d", "-c"], input=packed, stdout=subprocess.PIPE, check=True).stdout


def read_safetensors(data):
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    assert list(metadata) == ["prism"], "the one metadata key is `prism`"
    tensors = {}
    for name, info in header.items():
        start, end = info["data_offsets"]
        tensors[name] = (info["dtype"], info["shape"], data[8 + length + start : 8 + length + end])
    return metadata["prism"], tensors


def range_decode(data, count, ones):
    p = min(max((131072 * ones + count) // (2 * count), 1), 65535)
    bits = np.zeros(count, dtype=np.uint8)
    span, code, position = 2**32 - 1, int.from_bytes(data[:4], "big"), 4
    assert code < span, "a code never begins with ffffffff"
    for i in range(count):
        bound = span * p >> 16
        if code < bound:
            bits[i] = 1
            span = bound
        else:
            code -= bound
            span -= bound
        while span < 1 << 24:
            span <<= 8
            code = code << 8 | data[position]
            position += 1
    assert code == 0 and position == len(data), "the range coder ends at 0 with every byte used"
    return bits


class Model:
    """An artifact: one generator, or a mixture of them."""

    def __init__(self, path):
        text, tensors = read_safetensors(decompress(path))
        self.meta = meta = json.loads(text)
        description = meta["description"]
        assert meta["version"] in (1, 2), "this reader knows versions 1 and 2"
        assert ("components" in description) == (meta["version"] == 2), "version 2 says how many components there are"
        count = description.get("components", 1)
        assert meta["version"] == 1 or 2 <= count <= 64, "a mixture has 2 to 64 components"
        self.arch = description["architecture"]
        layers, norms = layers_and_norms(self.arch)
        assert len(meta["layers"]) == count * len(layers), "as many layers as the components have"
        own = [f"mask.{name}" for name, _, _ in layers]
        own += [f"norm.{name}.{what}" for name, _ in norms for what in ("scale", "shift")]
        prefixes = [f"{c}." for c in range(count)] if meta["version"] == 2 else [""]
        names = [prefix + name for prefix in prefixes for name in own]
        assert sorted(names) == sorted(tensors), "the tensors are exactly those of the format"
        self.check_hash(text, [tensors[name][2] for name in names])

        self.components = []
        for c, prefix in enumerate(prefixes):
            entries = meta["layers"][c * len(layers) : (c + 1) * len(layers)]
            seed = (description["seed"] + c) % 2**64
            self.components.append(Generator(self.arch, seed, entries, {name: tensors[prefix + name] for name in own}))

    def check_hash(self, text, tensors):
        claimed = self.meta["payload_sha256"]
        digest = hashlib.sha256(text.replace(claimed, "0" * 64, 1).encode())
        for data in tensors:
            digest.update(data)
        assert digest.hexdigest() == claimed, "the payload hash"

    def component_of(self, seed, index):
        return self.components[component_of(len(self.components), seed, index)]

    def input(self, seed, index, label=None):
        z = normals(stream_key("latent", seed, index=index), self.arch["latent"])
        one_hot = np.zeros(self.arch["classes"], dtype=np.float32)
        if self.arch["classes"]:
            one_hot[index % self.arch["classes"] if label is None else label] = self.arch["label_scale"]
        return np.concatenate([z, one_hot]).astype(np.float64)


class Generator:
    def __init__(self, arch, seed, entries, tensors):
        self.arch, self.seed = arch, seed
        layers, norms = layers_and_norms(arch)
        self.weights = {}
        for index, ((name, shape, fan_in), entry) in enumerate(zip(layers, entries, strict=True)):
            self.weights[name] = self.rebuild(index, name, shape, fan_in, entry, tensors[f"mask.{name}"])
        self.norms = {}
        for name, channels in norms:
            for what in ("scale", "shift"):
                dtype, shape, data = tensors[f"norm.{name}.{what}"]
                assert (dtype, shape) == ("F32", [channels]), name
                self.norms[name, what] = np.frombuffer(data, dtype="<f4").astype(np.float64)

    def rebuild(self, index, name, shape, fan_in, entry, tensor):
        count = math.prod(shape)
        dtype, tensor_shape, data = tensor
        assert (entry["name"], entry["shape"]) == (name, shape), name
        assert (dtype, tensor_shape) == ("U8", [entry["bytes"]]), name
        if entry["encoding"] == "raw":
            mask = np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little")[:count]
        else:
            mask = range_decode(data, count, entry["ones"])
        assert int(mask.sum()) == entry["ones"], f"the ones of {name}"
        key = stream_key("sign", self.seed, layer=index)
        signs = np.frombuffer(chacha20(key, -(-count // 8)), dtype=np.uint8)
        signs = np.unpackbits(signs, bitorder="little")[:count].astype(np.float64) * 2 - 1
        sigma = float(np.float32(math.sqrt(2.0 / fan_in)))
        assert abs(entry["sigma"] - sigma) <= 1e-6 * sigma, f"the sigma of {name}"
        return (mask * signs * sigma).reshape(shape)

    # --- Section 3: forward pass -------------------------------------------------------------------------------------

    def image(self, z):
        x = np.einsum("i,iorc->orc", z, self.weights["first"])
        for b in range(self.arch["image_size"].bit_length() - 3):
            block = f"blocks.{b}"
            t = self.conv3(f"{block}.conv1", up(self.relu_bn(f"{block}.bn1", x)))
            skip = np.einsum("oi,irc->orc", self.weights[f"{block}.skip"][:, :, 0, 0], x)
            x = self.conv3(f"{block}.conv2", self.relu_bn(f"{block}.bn2", t)) + up(skip)
        return np.tanh(self.conv3("last", self.relu_bn("bn", x)))

    def relu_bn(self, name, x):
        scale, shift = self.norms[name, "scale"], self.norms[name, "shift"]
        return np.maximum(scale[:, None, None] * x + shift[:, None, None], 0.0)

    def conv3(self, name, x):
        weights, side = self.weights[name], x.shape[1]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        out = np.zeros((weights.shape[0], side * side))
        for u in range(3):
            for v in range(3):
                out += weights[:, :, u, v] @ padded[:, u : u + side, v : v + side].reshape(len(x), -1)
        return out.reshape(-1, side, side)


def up(x):
    return x.repeat(2, axis=1).repeat(2, axis=2)


def image_bytes(image):
    return np.clip(np.floor((image + 1.0) * 127.5 + 0.5), 0, 255).astype(np.uint8).tobytes()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--npy")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    key = "c714b911da383e5c4c5acb4afdc8f61e04f0d7514eee757ef513ac8f974e4591"
    assert stream_key("sign", 7, layer=2).hex() == key, "the key that FORMAT.md gives as a check"
    model = Model(arguments.model)
    print("payload hash: right")

    answer = model.meta["known_answer"]
    z = model.input(answer["seed"], answer["index"], answer["label"])
    images = [image_bytes(component.image(z)) for component in model.components]
    found = hashlib.sha256(b"".join(images)).hexdigest()
    if found != answer["sha256"]:
        print(f"known answer: {found} here, {answer['sha256']} in the artifact")
        return 1
    print("known answer: right")

    if arguments.npy:
        worst = 0.0
        for index, drawn in enumerate(np.load(arguments.npy)):
            own = model.component_of(arguments.seed, index).image(model.input(arguments.seed, index))
            assert drawn.shape == own.shape, f"shape {drawn.shape}, not {own.shape}"
            worst = max(worst, float(np.abs(drawn - own).max()))
        print(f"largest difference of a pixel: {worst:.3g}")
        if not worst <= TOLERANCE:
            print(f"that is more than {TOLERANCE}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
