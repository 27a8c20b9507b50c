#!/usr/bin/env python3
"""Sampling: prism-infer, ONNX Runtime and PyTorch in turn, on this machine, at the same sizes; prints a table in Markdown.

The peers draw from the same architecture with dense f32 weights; ONNX Runtime gets it as its exporter and optimiser make it.
Every turn times each contender in a process of its own, in the same order. The table shows medians over turns.

    cargo build --release -p prism-infer
    python3 -m venv .venv && .venv/bin/pip install torch onnx onnxruntime
    .venv/bin/python bench/sample.py [--turns 5] [--threads 2]
"""

import argparse
import datetime
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAM = HERE.parent / "target" / "release" / "prism-infer"


def generator(args):
    """The generator of FORMAT.md, section 2, with random weights of which half are kept."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    def masked(layer):
        shape = layer.weight.shape
        fan_in = shape[0] * shape[2] ** 2 if isinstance(layer, nn.ConvTranspose2d) else shape[1] * shape[2] ** 2
        signs = torch.randint(0, 2, shape) * 2.0 - 1.0
        layer.weight.data = signs * torch.randint(0, 2, shape) * math.sqrt(2.0 / fan_in)
        return layer

    def conv(inputs, outputs, kernel):
        return masked(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False))

    class Block(nn.Module):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
            self.conv1, self.conv2 = conv(inputs, outputs, 3), conv(outputs, outputs, 3)
            self.skip = conv(inputs, outputs, 1)

        def forward(self, x):
            inner = self.conv1(F.interpolate(F.relu(self.bn1(x)), scale_factor=2.0))
            return self.conv2(F.relu(self.bn2(inner))) + F.interpolate(self.skip(x), scale_factor=2.0)

    class Generator(nn.Module):
        def __init__(self):
            super().__init__()
            blocks = int(math.log2(args.image_size)) - 2
            widths = [args.ngf << (blocks - b) for b in range(blocks + 1)]
            self.first = masked(nn.ConvTranspose2d(args.latent, widths[0], 4, bias=False))
            self.blocks = nn.Sequential(*(Block(*pair) for pair in zip(widths, widths[1:])))
            self.bn, self.last = nn.BatchNorm2d(widths[-1]), conv(widths[-1], args.channels, 3)

        def forward(self, z):
            x = self.blocks(self.first(z[:, :, None, None]))
            return torch.tanh(self.last(F.relu(self.bn(x))))

    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    return Generator().eval(), torch.randn(args.batch, args.latent)


def median_ms(draw, args):
    """Milliseconds an image: the median of the runs."""
    for _ in range(3):
        draw()
    times = []
    for _ in range(args.runs):
        start = time.perf_counter()
        draw()
        times.append(time.perf_counter() - start)
    return statistics.median(times) / args.batch * 1e3


def time_torch(args):
    import torch

    network, z = generator(args)
    with torch.no_grad():
        return {"peer": f"PyTorch {torch.__version__}", "ms_per_image": median_ms(lambda: network(z), args)}


def export(network, z, path):
    """Writes the network to `path` as ONNX, for as many latents as `z` has."""
    import torch

    warnings.simplefilter("ignore")
    torch.onnx.export(network, (z,), str(path), input_names=["z"], output_names=["image"], dynamo=False)


def time_onnx(args):
    import onnxruntime
    import torch

    network, z = generator(args)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "generator.onnx")
        export(network, z, path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        inputs = {"z": z.numpy()}
        with torch.no_grad():
            difference = abs(session.run(None, inputs)[0] - network(z).numpy()).max()
        assert difference < 1e-4, f"ONNX Runtime draws something else: {difference}"
        return {
            "peer": f"ONNX Runtime {onnxruntime.__version__}",
            "ms_per_image": median_ms(lambda: session.run(None, inputs), args),
        }


PEERS = {"onnx": time_onnx, "torch": time_torch}


def measure(command):
    """The JSON line that `command` prints last."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed with code {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def turns(batch, args):
    """Median milliseconds an image of every contender at one batch size, and what the peers are called."""
    runs = args.runs if batch > 1 else 4 * args.runs
    sizes = ["--ngf", args.ngf, "--image-size", args.image_size, "--channels", args.channels, "--latent", args.latent]
    sizes += ["--batch", batch, "--threads", args.threads, "--runs", runs]
    commands = {
        "f32": [args.program, "bench", "--json", "--precision", "f32", *sizes],
        "i16": [args.program, "bench", "--json", "--precision", "i16", *sizes],
        "onnx": [sys.executable, __file__, "--peer", "onnx", *sizes],
        "torch": [sys.executable, __file__, "--peer", "torch", *sizes],
    }
    found = {name: [] for name in commands}
    for turn in range(args.turns):
        for name, command in commands.items():
            found[name].append(measure(command))
            ms = found[name][-1]["ms_per_image"]
            print(f"batch {batch} turn {turn + 1}/{args.turns}: {name} {ms:.3f} ms", file=sys.stderr, flush=True)
    names = [found[peer][0]["peer"] for peer in PEERS]
    return {name: statistics.median(line["ms_per_image"] for line in lines) for name, lines in found.items()}, names


def processor():
    """The machine in words."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"ngf": 64, "image-size": 32, "channels": 3, "latent": 128, "threads": os.cpu_count(), "runs": 15}
    for name, default in sizes.items():
        flags.add_argument(f"--{name}", type=int, default=default)
    flags.add_argument("--batch", type=int, help="only this batch size, instead of 64 and 1")
    flags.add_argument("--turns", type=int, default=5, help="runs of each program")
    flags.add_argument("--program", type=Path, default=PROGRAM, help="the prism-infer to time")
    flags.add_argument("--peer", choices=PEERS, help="time this peer alone, and print JSON")
    flags.add_argument("--export", type=Path, help="only write the peers' network as ONNX, for bench/web.mjs")
    args = flags.parse_args()
    if args.export:
        args.batch = args.batch or 64
        return export(*generator(args), args.export)
    if args.peer:
        args.batch = args.batch or 64
        return print(json.dumps(PEERS[args.peer](args)))
    if not args.program.exists():
        sys.exit(f"{args.program} does not exist; build it with: cargo build --release -p prism-infer")
    print("| sampling, ms an image | prism-infer f32 | prism-infer i16 | ONNX Runtime | PyTorch | f32 faster by | i16 faster by |")
    print("|---|---|---|---|---|---|---|")
    for batch in [args.batch] if args.batch else [64, 1]:
        ms, names = turns(batch, args)
        peer = min(ms["onnx"], ms["torch"])
        print(f"| {batch} at a time | {ms['f32']:.2f} | {ms['i16']:.2f} | {ms['onnx']:.2f} | {ms['torch']:.2f} "
              f"| **{peer / ms['f32']:.2f}x** | **{peer / ms['i16']:.2f}x** |", flush=True)
    print(f"\nngf {args.ngf}, {args.image_size}x{args.image_size}x{args.channels}, {args.threads} threads; medians of "
          f"{args.turns} turns; {processor()}; {', '.join(names)}; {datetime.date.today()}.")


if __name__ == "__main__":
    main()
