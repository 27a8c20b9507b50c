#!/usr/bin/env python3
"""From nothing to the first image, each way in a process of its own, in turn; prints a table in Markdown of the shortest
turns, with the sizes of programs and models. The peer draws with the same architecture and dense f32 weights.

    cargo build --profile dist-small -p prism-infer && cargo build --profile dist -p prism-c && bash bindings/c/test.sh
    python bench/sample.py --export generator.onnx --batch 1 --ngf 64 --channels 1 --latent 112
    python bench/cold_start.py generator.onnx models/fashion-mnist.safetensors.zst --infer PROGRAM --c DRAW LIBRARY
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OURS = "import sys, prism_fl; print(prism_fl.load(sys.argv[1]).sample(1, precision='i16').shape)"
THEIRS = """import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
shape = session.get_inputs()[0].shape
print(session.run(None, {"z": numpy.zeros(shape, "float32")})[0].shape)"""


def size(place):
    """Bytes of a file, or of all files in a folder."""
    place = Path(place)
    return sum(file.stat().st_size for file in ([place] if place.is_file() else place.rglob("*")) if file.is_file())


def place_of(module):
    """A module's file, or the folder of its package."""
    found = importlib.util.find_spec(module)
    if found is None:
        sys.exit(f"{sys.executable} has no {module}; install it, or name another Python")
    return found.submodule_search_locations[0] if found.submodule_search_locations else found.origin


def seconds(command):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return time.perf_counter() - start


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("onnx", type=Path, help="the generator as dense ONNX, for one latent")
    flags.add_argument("model", type=Path, help="the generator as a model of this project")
    flags.add_argument("--infer", help="the program prism-infer")
    flags.add_argument("--c", nargs=2, metavar=("DRAW", "LIBRARY"), help="the example draw.c, and the library beside it")
    flags.add_argument("--turns", type=int, default=15)
    args = flags.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        picture = os.path.join(folder, "picture")
        ways = {}
        if args.infer:
            command = [args.infer, args.model, "--n", "1", "--precision", "i16", "--quiet", "--out", picture]
            ways["prism-infer"] = (command, args.infer, args.model)
        if args.c:
            ways["C, libprism.so"] = ([args.c[0], args.model, picture, "1"], args.c[1], args.model)
        ways["Python, prism_fl"] = ([sys.executable, "-c", OURS, args.model], place_of("prism_fl"), args.model)
        ways["Python, ONNX Runtime"] = ([sys.executable, "-c", THEIRS, args.onnx], place_of("onnxruntime"), args.onnx)
        ways["Python, numpy alone"] = ([sys.executable, "-c", "import numpy"], place_of("numpy"), None)
        times = {name: [] for name in ways}
        for _ in range(args.turns):
            for name, (command, _, _) in ways.items():
                times[name].append(seconds([str(word) for word in command]))
    print("| | program, bytes | model, bytes | first image after |\n|---|---|---|---|")
    for name, (_, program, model) in ways.items():
        of_model = f"{size(model):,}" if model else ""
        print(f"| {name} | {size(program):,} | {of_model} | {1e3 * min(times[name]):.0f} ms |")


if __name__ == "__main__":
    main()
