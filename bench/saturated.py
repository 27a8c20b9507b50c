"""Counts saturated images: those with a square of 5x5 pixels of at least 250 of 255 (white), or of at most 5 (black).

    python3 bench/saturated.py [--real t10k-images-idx3-ubyte.gz] MODEL...

Prints a line for each model, of 1,000 images, and for 2,000 real ones: the first of an IDX file, or every n-th picture below a folder
(resized bilinearly to 32 pixels). Needs NumPy, and Pillow for real images; draws through `cargo run --release --bin prism-infer`. No
judge of `prism-train eval` sees such patches; people do.
"""

import argparse
import gzip
import subprocess
import tempfile
from pathlib import Path

import numpy as np

SIDE = 5
WHITE = 250
BLACK = 5
ROOT = Path(__file__).resolve().parent.parent


def squares(pixels):
    """The share of images with a square of the `pixels [n, height, width]` that are meant."""
    sums = np.pad(pixels.cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0)))
    counts = sums[:, SIDE:, SIDE:] - sums[:, :-SIDE, SIDE:] - sums[:, SIDE:, :-SIDE] + sums[:, :-SIDE, :-SIDE]
    return (counts == SIDE * SIDE).any((1, 2)).mean()


def report(name, images):
    white, black = images >= WHITE, images <= BLACK
    print(f"{name}: of {len(images)} images {squares(white):.1%} with a white square, {squares(black):.1%} with a black one; "
          f"{white.mean():.2%} of pixels white")


def drawn(model, count):
    """`count` images of `model` as bytes, a colour's mean where there are three."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "images.npy"
        flags = ["--model", str(Path(model).resolve()), "--n", str(count), "--npy", str(target)]
        flags += ["--out", str(Path(folder) / "images.png"), "--quiet"]
        command = ["cargo", "run", "--release", "--quiet", "--bin", "prism-infer", "--", *flags]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        return ((np.load(target).mean(1) + 1) * 127.5).round().astype(np.uint8)


def real(path, count, side):
    from PIL import Image

    if Path(path).is_dir():
        files = sorted(file for file in Path(path).rglob("*") if file.is_file())
        pictures = [Image.open(file).convert("RGB") for file in files[:: max(1, len(files) // count)][:count]]
        return np.stack([np.array(picture.resize((side, side), Image.BILINEAR)).mean(-1) for picture in pictures])
    raw = (gzip.open if path.endswith(".gz") else open)(path, "rb").read()
    height, width = (int.from_bytes(raw[at : at + 4], "big") for at in (8, 12))
    images = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, height, width)[:count]
    return np.stack([np.array(Image.fromarray(image).resize((side, side), Image.BILINEAR)) for image in images])


def main():
    parser = argparse.ArgumentParser(description="Counts saturated images.")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="artifacts")
    parser.add_argument("--real", metavar="FILE", help="IDX file, or folder, of real images to compare with")
    args = parser.parse_args()
    if args.real:
        report("real", real(args.real, 2000, 32))
    for model in args.models:
        report(model, drawn(model, 1000))


if __name__ == "__main__":
    main()
