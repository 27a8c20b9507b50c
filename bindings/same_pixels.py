#!/usr/bin/env python3
"""The same seed draws the same pixels through the program, C, Python, Kotlin, Node.js and a browser: bit for bit, in
16-bit integers. Compares all ways that are given, model by model.

Usage: same_pixels.py --infer PROGRAM [--c PROGRAM] [--python FOLDER] [--kotlin PROGRAM] [--node FOLDER] [--chromium FOLDER]

PROGRAM is prism-infer, or the example bindings/c/examples/draw.c, or bindings/uniffi/examples/Draw.kt; FOLDER has the
module prism_fl in it, or is the one that bindings/web/build.sh made.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
# Model, number of images, seed, class: a single generator, a mixture, colour; classes in turn and one of them; seeds up
# to the largest; numbers that the page offers.
WANTED = [
    ("mnist", 64, 0, None),
    ("mnist-rounds", 4, 7, 3),
    ("fashion-mnist-private", 16, 2**64 - 1, 8),
    ("cifar10", 4, 2**53 + 1, None),
]


def file_of(model):
    return HERE.parent / "models" / f"{model}.safetensors.zst"


def by_infer(program, folder):
    for model, count, seed, label in WANTED:
        array = folder / "array.npy"
        command = [program, file_of(model), "--quiet", "--precision", "i16", "--n", str(count), "--seed", str(seed)]
        chosen = [] if label is None else ["--label", str(label)]
        subprocess.run([*command, *chosen, "--npy", array], check=True, stdout=subprocess.DEVNULL)
        # FORMAT.md's bytes of a value.
        values = np.floor((np.load(array).astype(np.float64) + 1) * 127.5 + 0.5).clip(0, 255)
        yield values.astype(np.uint8).transpose(0, 2, 3, 1).tobytes()


def by_c(program, folder):
    for model, count, seed, label in WANTED:
        picture, chosen = folder / "picture.ppm", [] if label is None else [str(label)]
        subprocess.run([program, file_of(model), picture, str(count), str(seed), *chosen], check=True)
        # Behind three lines of header.
        yield picture.read_bytes().split(b"\n", 3)[3]


def by_python(module, _folder):
    sys.path.insert(0, module)
    import prism_fl

    for model, count, seed, label in WANTED:
        loaded = prism_fl.load(file_of(model))
        yield loaded.sample(count, seed=seed, label=label, precision="i16").tobytes()


def by_kotlin(program, folder):
    for model, count, seed, label in WANTED:
        pixels, chosen = folder / "pixels", [] if label is None else [str(label)]
        subprocess.run([program, file_of(model), pixels, str(count), str(seed), *chosen], check=True)
        yield pixels.read_bytes()


def by_script(way, built, folder):
    wanted = [[model, count, str(seed), label] for model, count, seed, label in WANTED]
    script = HERE / "web/tests/draw.mjs"
    subprocess.run(["node", script, way, built, folder, json.dumps(wanted)], check=True)
    for number, _ in enumerate(WANTED):
        yield (folder / f"{way}-{number}").read_bytes()


def main():
    ways = {
        "infer": by_infer,
        "c": by_c,
        "python": by_python,
        "kotlin": by_kotlin,
        "node": lambda built, folder: by_script("node", built, folder),
        "chromium": lambda built, folder: by_script("chromium", built, folder),
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for way in ways:
        parser.add_argument(f"--{way}", required=way == "infer")
    given = {way: value for way, value in vars(parser.parse_args()).items() if value}
    with tempfile.TemporaryDirectory() as folder:
        drawn = {way: list(ways[way](value, Path(folder))) for way, value in given.items()}
    different = 0
    for number, (model, count, seed, label) in enumerate(WANTED):
        digests = {way: hashlib.sha256(images[number]).hexdigest()[:16] for way, images in drawn.items()}
        same = len(set(digests.values())) == 1
        different += not same
        shown = f"{digests['infer']} by {', '.join(given)}" if same else f"DIFFERENT: {digests}"
        print(f"{model}, {count} images of seed {seed}, {'all classes' if label is None else f'class {label}'}: {shown}")
    return different


if __name__ == "__main__":
    sys.exit(main())
