"""Asks a person what generated images show, without telling them the class that was asked for.

    python3 bench/blind.py MODEL sheet.png             # draws a shuffled sheet, ten columns, and its key sheet.json: do not look at that
    python3 bench/blind.py sheet.png answers.txt       # names of classes in the sheet's order: how many are right

Eight images a class, seeds 100, 101, ... by class. Needs NumPy and Pillow; draws through `cargo run --release --bin prism-infer`.
"""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

EACH, COLUMNS, SIDE, GAP = 8, 10, 104, 8
ROOT = Path(__file__).resolve().parent.parent
INFER = ["cargo", "run", "--release", "--quiet", "--bin", "prism-infer", "--"]


def run(*flags):
    return subprocess.run([*INFER, *flags], check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout


def drawn(model, label):
    """Eight images of class number `label`, `[8, height, width, colours]`, in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        array = Path(folder) / "images.npy"
        flags = ["--n", str(EACH), "--seed", str(100 + label), "--label", str(label), "--npy", str(array)]
        run(model, *flags, "--out", str(Path(folder) / "images.png"), "--quiet")
        return ((np.load(array).transpose(0, 2, 3, 1) + 1) * 127.5).round().astype(np.uint8)


def ask(model, sheet):
    model = str(Path(model).resolve())
    classes = json.loads(run("info", model, "--json"))["meta"]["description"]["class_names"]
    images = [(name, image) for label, name in enumerate(classes) for image in drawn(model, label)]
    order = np.random.default_rng().permutation(len(images))
    cell = SIDE + GAP
    picture = Image.new("RGB", (COLUMNS * cell, -(-len(images) // COLUMNS) * cell), "gray")
    for place, index in enumerate(order):
        image = Image.fromarray(images[index][1].squeeze()).convert("RGB").resize((SIDE, SIDE), Image.BICUBIC)
        picture.paste(image, (place % COLUMNS * cell + GAP // 2, place // COLUMNS * cell + GAP // 2))
    picture.save(sheet)
    Path(sheet).with_suffix(".json").write_text(json.dumps([images[index][0] for index in order]))


def judge(sheet, answers):
    key, given = json.loads(Path(sheet).with_suffix(".json").read_text()), Path(answers).read_text().split()
    if len(given) != len(key):
        sys.exit(f"{answers} has {len(given)} names and the sheet {len(key)} images; name each, in the sheet's order")
    right = Counter(name for name, answer in zip(key, given) if name == answer)
    print(f"{right.total()} of {len(key)} named rightly: " + ", ".join(f"{name} {n}" for name, n in right.most_common()))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    first, second = sys.argv[1:]
    judge(first, second) if first.endswith(".png") else ask(first, second)
