#!/usr/bin/env python3
"""Project and peers in turn, on this machine, at the same sizes; prints a table in Markdown.

Every program runs once a turn, in the same order, `--turns` times, so that whatever else the machine does befalls all of them
alike. The table shows medians over turns, and how many times faster the project is. Each program is a process of its own, so
its peak memory is its own too.

    cargo build --release -p prism-train -p prism-infer
    python3 -m venv .venv && .venv/bin/pip install torch
    .venv/bin/python bench/side_by_side.py [--turns 5] [--threads 2] [--only ngf-16]

Peers run with the Python that runs this script. Sampling is compared by `bench/sample.py`, which is run at the end where it
exists.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAM = HERE.parent / "target" / "release" / "prism-train"

# Name, the sizes that both programs are given, and what each is given beside.
CASES = {
    "ngf-16": (["--ngf", "16", "--steps", "10"], ["--encoder", "public"], ["--encoder", "public"]),
    "ngf-64": (["--ngf", "64", "--steps", "6"], ["--encoder", "public"], ["--encoder", "public"]),
    "vgg16": (["--ngf", "32", "--steps", "5"], ["--encoder", "vgg16"], ["--encoder", "vgg16"]),
    "vgg16-bf16": (["--ngf", "32", "--steps", "5"], ["--encoder", "bf16+vgg16"], ["--encoder", "vgg16", "--bf16"]),
    "vgg19": (["--ngf", "64", "--steps", "3"], ["--encoder", "vgg19"], ["--encoder", "vgg19"]),
}
TITLES = {
    "ngf-16": "step, ngf 16, public encoder",
    "ngf-64": "step, ngf 64, public encoder",
    "vgg16": "step, ngf 32, VGG16",
    "vgg16-bf16": "step, ngf 32, VGG16 by bf16 (PyTorch: autocast)",
    "vgg19": "step, ngf 64, VGG19",
}


def measure(command):
    """The JSON line that `command` prints last."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed with code {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def contenders(case, args):
    """Each program's name and command."""
    sizes, own, of_peer = CASES[case]
    sizes = sizes + ["--batch", str(args.batch), "--threads", str(args.threads), "--device", args.device]
    peer = [sys.executable, HERE / "train_step.py", *sizes, *of_peer]
    return {
        "prism": [args.program, "bench", "--json", *sizes, *own],
        "torch": peer,
        "torch-last": [*peer, "--channels-last"],
    }


def turns(case, args):
    """What each program said in each turn."""
    programs = contenders(case, args)
    found = {name: [] for name in programs}
    for turn in range(args.turns):
        for name, command in programs.items():
            found[name].append(measure(command))
            seconds = found[name][-1]["s_per_step"]
            print(f"{case} turn {turn + 1}/{args.turns}: {name} {seconds:.4f} s", file=sys.stderr, flush=True)
    return found


def median(lines, key):
    values = [line[key] for line in lines]
    return None if None in values else statistics.median(values)


def row(case, found):
    """One line of the table."""
    seconds = {name: median(lines, "s_per_step") for name, lines in found.items()}
    memory = {name: median(lines, "peak_mib") for name, lines in found.items()}
    better = min("torch", "torch-last", key=seconds.get)
    ours = found["prism"]
    reached = f"{median(ours, 'direct_gflops'):.0f}"
    done, peak = median(ours, "done_gflops"), median(ours, "peak_gflops")
    if done is not None and peak is not None:
        reached += f" ({done:.0f} of {peak:.0f})"
    mib = lambda name: "?" if memory[name] is None else f"{memory[name]:.0f}"
    return (
        f"| {TITLES[case]} | {seconds['prism']:.3f} s | {seconds['torch']:.3f} s | {seconds['torch-last']:.3f} s "
        f"| **{seconds[better] / seconds['prism']:.2f}x** | {reached} | {mib('prism')} / {mib(better)} MiB |"
    )


def processor():
    """The machine in words."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--turns", type=int, default=5, help="runs of each program")
    flags.add_argument("--threads", type=int, default=os.cpu_count())
    flags.add_argument("--batch", type=int, default=64)
    flags.add_argument("--device", default="cpu")
    flags.add_argument("--only", choices=[*CASES, "sample"], action="append", help="only this case; may be repeated")
    flags.add_argument("--program", type=Path, default=PROGRAM, help="the prism-train to time")
    args = flags.parse_args()
    if not args.program.exists():
        sys.exit(f"{args.program} does not exist; build it with: cargo build --release -p prism-train")
    wanted = args.only or [*CASES, "sample"]
    rows, version = [], None
    for case in CASES:
        if case in wanted:
            found = turns(case, args)
            version = found["torch"][0]["peer"]
            rows.append(row(case, found))
    if rows:
        print("| local training step | prism-train | PyTorch | PyTorch, channels last | faster by | GFLOP/s direct (done of peak) "
              "| peak memory, ours / theirs |")
        print("|---|---|---|---|---|---|---|")
        print("\n".join(rows))
        print(f"\nBatch {args.batch}, {args.threads} threads, {args.device}; medians of {args.turns} turns; {processor()}; "
              f"{version}; {datetime.date.today()}.")
    sample = HERE / "sample.py"
    if "sample" in wanted and sample.exists():
        print(flush=True)
        sys.exit(subprocess.run([sys.executable, sample, "--threads", str(args.threads)]).returncode)


if __name__ == "__main__":
    main()
