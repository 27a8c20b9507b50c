#!/usr/bin/env python3
"""The peer of `cargo bench -p prism-nn --bench measure`: measuring images with a frozen encoder in PyTorch.

    features = every convolution's output after its ReLU;  sum and sum of squares of each feature over all images, in f64

The same convolutions, pools and sums, without gradients. Weights and images are random, since only the time counts. Tries each memory
format and batch size and reports the fastest of them. Needs `pip install torch`. Prints one line of JSON a case.

    bench/measure.py --threads 2 [--encoder public vgg16] [--size 32 64] [--seconds 5] [--no-sums]
"""

import argparse
import json
import resource
import time

import torch

from train_step import LAYOUTS, Encoder

FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


def measure(encoder, images, sums):
    """Adds the sums of a batch's features to `sums`; without sums only computes the features."""
    for feature, total in zip(encoder(images), sums or [None] * len(images)):
        if total is not None:
            exact = feature.double()
            total[0] += exact.sum(0)
            total[1] += exact.square_().sum(0)


def images_per_second(encoder, images, with_sums, seconds):
    """The rate of the fastest of several passes over `images` within about so many seconds."""
    sums = [torch.zeros(2, *f.shape[1:], dtype=torch.float64) for f in encoder(images)] if with_sums else None
    measure(encoder, images, sums)
    fastest, begun = float("inf"), time.perf_counter()
    while time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        measure(encoder, images, sums)
        fastest = min(fastest, time.perf_counter() - start)
    return len(images) / fastest


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--encoder", nargs="+", default=["public", "vgg16"], help="public, vgg16, vgg19, or a layout")
    flags.add_argument("--size", nargs="+", type=int, default=[32, 64], help="pixels a side")
    flags.add_argument("--batch", nargs="+", type=int, default=[32, 64, 128], help="batch sizes to try")
    flags.add_argument("--seconds", type=float, default=5, help="how long each memory format and batch size is tried")
    flags.add_argument("--threads", type=int, default=0, help="0 for PyTorch's own choice")
    flags.add_argument("--no-sums", action="store_true")
    flags.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    args = flags.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    for name in args.encoder:
        for size in args.size:
            rates = {}
            for form, memory in FORMATS.items():
                encoder = Encoder(LAYOUTS.get(name, name)).to(memory_format=memory)
                for batch in args.batch:
                    images = torch.rand(batch, 3, size, size).to(memory_format=memory)
                    autocast = torch.autocast("cpu", torch.bfloat16, enabled=args.bf16)
                    with torch.inference_mode(), autocast:
                        rates[form, batch] = images_per_second(encoder, images, not args.no_sums, args.seconds)
            (form, batch), rate = max(rates.items(), key=lambda item: item[1])
            report = {
                "peer": f"PyTorch {torch.__version__}, {form}, batch {batch}" + (", bf16" if args.bf16 else ""),
                "threads": torch.get_num_threads(),
                "encoder": name,
                "size": size,
                "sums": not args.no_sums,
                "images_per_s": round(rate, 1),
                "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            }
            print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
