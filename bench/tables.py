"""Trains and judges one model a row, and prints the table in Markdown.

    python3 bench/tables.py ablation --data DIR --out runs/tables [--bin target/release] [-- FLAGS OF prism-train...]

Tables: `ablation` (what each choice of training is worth), `baselines` (other ways to train the same generator), `privacy`
(epsilon), `regimes` (rounds against one message), `codec` (what crosses the wire). Every row is `prism-train FLAGS` and then `prism-train eval`; a row that was finished
before is read from OUT, so an interrupted table goes on where it stopped. Flags after `--` go to every row, such as
`--rounds 4` for a quick look. Only Python's standard library is needed.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys

# What the shelf is trained with, at a width and length that suit a table.
GOOD = {
    "mode": "one-shot", "ngf": 16, "rounds": 12, "local-steps": 50, "lr-decay-rounds": 12, "batch-size": 80,
    "classes-per-step": 10, "label-scale": 16, "training-mask": "threshold", "objective": "moments", "score-scale": 1, "lr": 0.1,
    "sample-every": 0,
}
ROUNDS = {**GOOD, "mode": "rounds", "rounds": 20, "lr-decay-rounds": 0, "local-steps": 10, "batch-size": 64,
          "training-mask": "drawn", "codec": "raw", "score-scale": 4, "lr": 0.4}
FLIPS = {"codec": "flips", "training-mask": "threshold"}
ALONE = {"mode": "one-shot", "codec": "flips"}
PRIVATE = {**GOOD, "dp-trust": "secagg", "dp-delta": 1e-6}


def ablation(dataset):
    base = {**GOOD, "dataset": dataset, "limit": 10000}
    yield "all of the below", base
    yield "masks drawn, not thresholded", {**base, "training-mask": "drawn"}
    yield "biased estimator", {**base, "objective": "moments-biased"}
    yield "label as large as 3 latents, not 16", {**base, "label-scale": 3}
    yield "4 classes a step, not 10", {**base, "classes-per-step": 4}
    yield "constant learning rate", {**base, "lr-decay-rounds": 0}
    yield "lr 0.03", {**base, "lr": 0.03}
    yield "lr 0.3", {**base, "lr": 0.3}
    yield "random encoder", {**base, "encoder": "random:1"}
    yield "as many images a step as with 4 subclasses", {**base, "batch-size": 160}
    yield "4 subclasses", {**base, "batch-size": 160, "subclasses": 4}
    yield "4 subclasses, half of all in a step", {**base, "batch-size": 160, "subclasses": 4, "classes-per-step": 5}
    yield "8 subclasses, a fifth of all in a step", {**base, "batch-size": 160, "subclasses": 8, "classes-per-step": 2}


def baselines(dataset):
    """Ten clients, 20 rounds of 10 steps of 64 images, and what the same images could have been used for instead."""
    base = {**ROUNDS, "dataset": dataset}
    published = {**base, "objective": "moments-biased", "label-scale": 3, "score-scale": 1, "lr": 0.1}
    dense = {**base, "training-mask": "dense", "score-scale": 1, "lr": 0.02, "alpha": 1}
    flips = {**base, **FLIPS}
    yield "masks in rounds", base
    yield "masks in rounds, shards:2", {**base, "partition": "shards:2"}
    yield "masks in rounds, as flips", flips
    yield "masks in rounds, as flips, shards:2", {**flips, "partition": "shards:2"}
    yield "as published, but conditional", {**published, "objective": "moving-average"}
    yield "as published, but conditional and matched directly", published
    yield "the last 30% of the layers as scores (PRISM-alpha)", {**base, "alpha": 0.3}
    yield "dense FedAvg", dense
    yield "dense FedAvg, shards:2", {**dense, "partition": "shards:2"}
    yield "one client that holds all images, masks", {**base, "clients": 1}
    yield "one client that holds all images, dense weights", {**dense, "clients": 1}
    yield "one message a client, then the server's 200 steps", {**base, **ALONE}


def privacy(dataset):
    """What epsilon, the trust model, the partition and the choice of features cost, at what suits each epsilon."""
    noised = {**PRIVATE, "dataset": dataset, "dp-features": "grid:8"}
    parted = {**noised, "subclasses": 4, "batch-size": 160, "classes-per-step": 2}
    few = {**noised, "classes-per-step": 4, "objective": "mean-squares", "dp-epsilon": 0.2}
    one = {**parted, "dp-epsilon": 1}
    yield "none", {key: value for key, value in parted.items() if not key.startswith("dp-")}
    for epsilon in (10, 1):
        yield f"epsilon {epsilon}", {**parted, "dp-epsilon": epsilon}
    yield "epsilon 0.2", few
    yield "epsilon 1, shards:2", {**one, "partition": "shards:2"}
    yield "epsilon 1, local noise", {**one, "subclasses": 1, "dp-trust": "local"}
    yield "epsilon 1, local noise, shards:2", {**one, "subclasses": 1, "dp-trust": "local", "partition": "shards:2"}
    yield "epsilon 1, add-remove", {**one, "dp-adjacency": "add-remove"}
    yield "epsilon 1, rounds of masks", {**ROUNDS, **{key: value for key, value in one.items() if key.startswith("dp-")},
                                         "dataset": dataset, **FLIPS}
    for features in ("all", "grid:4", "pooled"):
        yield f"epsilon 1, {features}", {**one, "dp-features": features}
        yield f"epsilon 0.2, {features}", {**few, "dp-features": features}
    yield "epsilon 1, biased", {**one, "objective": "moments-biased"}
    yield "epsilon 0.2, biased", {**few, "objective": "moments-biased"}
    yield "epsilon 1, mean squares", {**one, "objective": "mean-squares"}
    yield "epsilon 0.2, variances", {**few, "objective": "moments"}


def regimes(dataset):
    base = {**ROUNDS, "dataset": dataset, "limit": 10000}
    yield "rounds, iid", base
    yield "rounds, shards:2", {**base, "partition": "shards:2"}
    yield "rounds, thresholded training", {**base, "training-mask": "threshold"}
    yield "rounds, biased estimator, label 3, 4 classes", {
        **base, "objective": "moments-biased", "label-scale": 3, "classes-per-step": 4, "score-scale": 1, "lr": 0.1}
    yield "one-shot, as many steps as one client", {**base, **ALONE}
    yield "one-shot, as many steps as all clients, thresholded", {
        **GOOD, "dataset": dataset, "limit": 10000, "rounds": 40, "lr-decay-rounds": 40}


def codec(dataset):
    for partition in ("iid", "shards:2"):
        # Small steps from undecided scores: what keeps a client near the prior that its message is coded under.
        base = {**ROUNDS, "dataset": dataset, "partition": partition, "rounds": 30, "score-scale": 1, "lr": 0.1}
        yield f"{partition}, mrc", {**base, "codec": "mrc"}
        yield f"{partition}, flips", {**base, **FLIPS}
        yield f"{partition}, raw", base


TABLES = {"ablation": ablation, "baselines": baselines, "privacy": privacy, "regimes": regimes, "codec": codec}
# Half of a row's judging; the codecs' question is whether images change at all.
WITHOUT_TSTR = {"codec"}


def main():
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    own, extra = words[:end], words[end + 1:]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--data", required=True, help="folder that holds the data sets' folders")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder for runs and figures")
    parser.add_argument("--bin", default="target/release", type=pathlib.Path, help="folder of the programs")
    parser.add_argument("--rows", default="", help="only rows in whose name this regular expression is found")
    parser.add_argument("--tstr", default=60000, type=int, help="images that TSTR's networks are trained on; the table has the lowest of three")
    args = parser.parse_args(own)
    rows = []
    for name, flags in TABLES[args.table](args.dataset):
        if re.search(args.rows, name):
            rows.append((name, figures(args, name, {**flags, **pairs(extra)})))
            print(f"{name}: {rows[-1][1]}", file=sys.stderr)
    print(markdown(rows))


def pairs(words):
    """`--rounds 4 --lr 0.3` as a dictionary."""
    if len(words) % 2 or not all(word.startswith("--") for word in words[::2]):
        sys.exit("flags after -- must be pairs, such as --rounds 4")
    return {key[2:]: value for key, value in zip(words[::2], words[1::2])}


def figures(args, name, flags):
    """Trains and judges one row, or reads what was found before."""
    slug = "".join(c if c.isalnum() else "-" for c in f"{args.table}-{args.dataset}-{name}")
    found, run = args.out / f"{slug}.json", args.out / slug
    if found.exists():
        saved = json.loads(found.read_text())
        if saved["flags"] == flags:
            return saved["figures"]
    args.out.mkdir(parents=True, exist_ok=True)
    data = f"{args.data}/{args.dataset}"
    # Every table draws on the data anew; one ledger keeps count of it.
    ledger = ["--dp-ledger", f"{args.out}/privacy-ledger.jsonl"] if "dp-epsilon" in flags else []
    train = [f"--{key}={value}" for key, value in flags.items()]
    resumable = (run / "settings.toml").exists()
    start = ["--resume", str(run)] if resumable else [*train, "--data-dir", data, "--out", str(run), *ledger]
    trained = call([args.bin / "prism-train", *start, "--quiet", "--json"])
    classifier = args.out / f"{args.dataset}-classifier.safetensors"
    tstr = [] if args.table in WITHOUT_TSTR else ["--tstr", args.tstr]
    judged = call([args.bin / "prism-train", "eval", run, "--data-dir", data, "--classifier", classifier, *tstr,
                   "--quiet", "--json"])
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    distance = {entry["features"]: entry["frechet_distance"] for entry in judged["features"]}
    result = {
        "frechet_distance": list(distance.values()),
        "agreement": (judged["classifier"] or {}).get("agreement"),
        "tstr": min((s["accuracy"] for s in (judged["tstr"] or {}).get("students", [])), default=None),
        "up": trained["uplink_bytes"], "down": trained["downlink_bytes"], "model": trained["model_bytes"],
        "up_bits": trained["traffic"]["uplink_bits_per_weight"],
        "down_bits": trained["traffic"]["downlink_bits_per_weight"],
        "seconds": sum(line["seconds"] for line in lines),
    }
    found.write_text(json.dumps({"flags": flags, "figures": result}))
    return result


def call(command):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}")
    return json.loads(done.stdout)


def markdown(rows):
    head = "| | Frechet distance (encoder, classifier) | agreement | TSTR | bytes up | bytes down | model | seconds |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for name, row in rows:
        share = [f"{100 * row[key]:.1f}%" if row[key] is not None else "-" for key in ("agreement", "tstr")]
        distances = ", ".join(f"{x:.3f}" for x in row["frechet_distance"])
        cells = [name, distances, *share, f"{row['up']:,} ({row['up_bits']:.3f})",
                 f"{row['down']:,} ({row['down_bits']:.3f})", f"{row['model']:,}", f"{row['seconds']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
