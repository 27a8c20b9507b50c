#!/usr/bin/env python3
"""The library for Kotlin and Swift through the Python side that is generated of it: mobile.py MODEL [FORGED ...]

A forged model whose name begins with "taken-" is whole all the same.
"""

import json
import sys
import threading
from pathlib import Path

from prism import Model, ModelError, Precision


def refusal(call):
    try:
        call()
    except ModelError as error:
        return type(error).__name__, str(error)
    raise AssertionError("it was taken")


def main(path, *forged):
    data = Path(path).read_bytes()
    model = Model(data)
    shape = model.shape()
    assert (shape.size, shape.channels, shape.classes) == (32, 1, 10)
    assert json.loads(model.info())["privacy"].startswith("none")
    four = model.sample(4, 7, Precision.I16)
    assert len(four) == 4 * 32 * 32 and four == Model.open(path).sample(4, 7, Precision.I16)
    assert four[-1024:] == model.sample(1, 7, Precision.I16, first=3)
    assert four[3072:] == model.sample(1, 7, Precision.I16, label="3", first=3), "classes take turns"
    assert four != model.sample(4, 7, Precision.F32)

    drawn = [None] * 4
    threads = [threading.Thread(target=lambda k=k: drawn.__setitem__(k, model.sample(4, 7, Precision.I16))) for k in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert drawn == [four] * 4

    altered = bytearray(data)
    altered[len(data) // 2] ^= 1
    for bad in (b"", data[:20000], bytes(altered)):
        kind, words = refusal(lambda: Model(bad))
        assert (kind, "cannot be used" in words) == ("Failure", True), (kind, words)
    for asked in (
        lambda: model.sample(2**32 - 1, 0, Precision.I16),
        lambda: model.sample(1, 0, Precision.I16, first=2**64 - 1),
        lambda: model.sample(1, 0, Precision.I16, label="ten"),
        lambda: Model.open("/no/such/model"),
    ):
        assert refusal(asked)[0] == "Usage"
    for path in map(Path, forged):
        if path.name.startswith("taken-"):
            assert Model(path.read_bytes()).sample(2, 0, Precision.I16)
        else:
            assert refusal(lambda: Model(path.read_bytes()))[0] == "Failure", path
    print(f"Kotlin's and Swift's library: draws, and refuses what it should; {len(forged)} forged models")


if __name__ == "__main__":
    main(*sys.argv[1:])
