"""A finished model as Python sees it. Its images are compared with those of `prism-infer` in bindings/same_pixels.py."""

import os
import threading
from pathlib import Path

import numpy as np
import prism_fl
import pytest

SHELF = Path(__file__).resolve().parents[3] / "models"


@pytest.fixture(scope="module")
def model() -> prism_fl.Model:
    return prism_fl.load(SHELF / "mnist-rounds.safetensors.zst")


def test_samples_are_arrays_that_depend_on_seed_number_and_label_alone(model: prism_fl.Model) -> None:
    images = model.sample(70, seed=5, precision="i16")
    assert images.shape == (70, 32, 32, 1) and images.dtype == np.uint8 and images.flags.writeable
    assert (images[66:] == model.sample(4, seed=5, first=66, precision="i16")).all()
    assert (images[3] == model.sample(1, seed=5, first=3, label=3, precision="i16")[0]).all()
    assert (model.sample(4, label="0-1") == model.sample(4, label="0,1")).all()
    assert (images != model.sample(70, seed=6, precision="i16")).any()
    assert np.abs(images.astype(int) - model.sample(70, seed=5)).max() < 8
    assert model.sample(0).shape == (0, 32, 32, 1)
    assert prism_fl.load(SHELF / "cifar10.safetensors.zst").sample(2).shape == (2, 32, 32, 3)


def test_a_way_begins_and_ends_at_its_latents(model: prism_fl.Model) -> None:
    way = model.interpolate(3, steps=5, seed=1, label=4)
    stops = model.sample(3, seed=1, label=4)
    assert way.shape == (10, 32, 32, 1)
    assert np.abs(way[[0, 4, 5, 9]].astype(int) - stops[[0, 1, 1, 2]]).max() <= 1


def test_a_model_tells_what_it_is_and_shows_itself(model: prism_fl.Model, tmp_path: Path) -> None:
    assert model.info["architecture"]["classes"] == 10 and model.info["privacy"].startswith("none")
    assert prism_fl.load(SHELF / "mnist-private.safetensors.zst").info["privacy"].startswith("(epsilon = 1,")
    assert repr(model) == "<prism_fl.Model of mnist: 32 x 32 x 1, 10 classes>"
    assert model._repr_png_().startswith(b"\x89PNG")
    model.save_grid(tmp_path / "grid.png", 64, precision="i16")
    assert (tmp_path / "grid.png").read_bytes() == model._repr_png_()


def test_what_cannot_be_is_an_exception_with_a_sentence(model: prism_fl.Model, tmp_path: Path) -> None:
    for call, words in (
        (lambda: model.sample(label="eleven"), "label eleven does not exist"),
        (lambda: model.sample(label=-1), "label -1 does not exist"),
        (lambda: model.sample(10**9), "one call draws up to 262144"),
        (lambda: model.sample(1, first=2**64 - 1), "no 1 images from there on"),
        (lambda: model.sample(precision="f64"), "precision is f64"),  # type: ignore[arg-type]
        (lambda: model.interpolate(1), "at least 2"),
        (lambda: model.save_grid(tmp_path / "none.png", 0), "make no picture"),
        (lambda: prism_fl.load(tmp_path), "has no model.safetensors.zst"),
    ):
        with pytest.raises(prism_fl.UsageError, match=words):
            call()
    with pytest.raises(OverflowError):
        model.sample(seed=-1)
    with pytest.raises(OSError, match="cannot read"):
        prism_fl.load(tmp_path / "absent")


def test_altered_files_are_refused(tmp_path: Path) -> None:
    good, bad = (SHELF / "mnist-rounds.safetensors.zst").read_bytes(), tmp_path / "bad"
    for at in range(0, len(good), 1999):
        for altered in (good[:at], good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :]):
            bad.write_bytes(altered)
            with pytest.raises(RuntimeError, match="cannot be used"):
                prism_fl.load(bad)


@pytest.mark.skipif("PRISM_HOSTILE" not in os.environ, reason="PRISM_HOSTILE names no folder of forged models")
def test_forged_models_are_taken_or_refused_as_everywhere() -> None:
    forged = sorted(Path(os.environ["PRISM_HOSTILE"]).iterdir())
    assert forged
    for path in forged:
        if path.name.startswith("taken-"):
            assert len(prism_fl.load(path).sample(2, precision="i16")) == 2
        else:
            with pytest.raises(RuntimeError, match="cannot be used"):
                prism_fl.load(path)


def test_threads_may_share_a_model(model: prism_fl.Model) -> None:
    drawn: dict[int, object] = {}
    threads = [
        threading.Thread(target=lambda k=k: drawn.update({k: model.sample(9, seed=k % 2, precision="i16").tobytes()}))
        for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drawn[0] == drawn[2] and drawn[1] == drawn[3] and drawn[0] != drawn[1]
