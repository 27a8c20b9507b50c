"""Models go to the hub and come back, through the real `huggingface_hub` and a server on this machine in the hub's place."""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import prism_fl
import pytest
from fake_hub import FakeHub

SHELF = Path(__file__).resolve().parents[3] / "models"
DIGITS = SHELF / "mnist-rounds.safetensors.zst"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeHub]:
    server = FakeHub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # The package reads these when it is first imported.
    assert "huggingface_hub" not in sys.modules
    os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
    os.environ["HF_HOME"] = str(tmp_path_factory.mktemp("hub"))
    os.environ["HF_TOKEN"] = "token-of-a-test"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    pytest.importorskip("huggingface_hub")
    yield server
    server.shutdown()


def test_a_model_goes_to_the_hub_with_its_card_and_comes_back(hub: FakeHub) -> None:
    model = prism_fl.load(DIGITS)
    address = model.push_to_hub("someone/digits")
    assert address == f"{os.environ['HF_ENDPOINT']}/someone/digits"
    files = hub.commits["someone/digits"][-1]
    assert files["model.safetensors.zst"] == DIGITS.read_bytes()
    assert files["samples.png"] == model._repr_png_()
    assert sorted(files) == ["README.md", "model.safetensors.zst", "samples.png"] and not hub.private["someone/digits"]
    for load in (prism_fl.load, prism_fl.Model.from_pretrained):
        assert (load("someone/digits").sample(4, precision="i16") == model.sample(4, precision="i16")).all()


def test_the_card_is_one_that_the_hub_can_read(hub: FakeHub) -> None:
    from huggingface_hub import ModelCard

    prism_fl.load(SHELF / "mnist-private.safetensors.zst").push_to_hub("someone/private", private=True)
    text = hub.commits["someone/private"][-1]["README.md"].decode()
    # The hub judges a card before it takes the commit, and a package that asks shows it the very text.
    assert hub.checked[-1] == text and hub.private["someone/private"]
    card = ModelCard(text)
    assert card.data.to_dict() == {
        "library_name": "prism",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["federated-learning", "image-generation"],
    }
    assert "| privacy | (epsilon = 1," in card.text and 'prism_fl.load("someone/private")' in card.text


def test_an_older_revision_can_be_asked_for(hub: FakeHub) -> None:
    for name in ("mnist-rounds", "fashion-mnist-rounds"):
        prism_fl.load(SHELF / f"{name}.safetensors.zst").push_to_hub("someone/both")
    assert prism_fl.load("someone/both").info["dataset"] == "fashion-mnist"
    assert prism_fl.load("someone/both", revision=hub.ids("someone/both")[0]).info["dataset"] == "mnist"
    with pytest.raises(prism_fl.UsageError, match="revision v1 is of models on the hub"):
        prism_fl.load(DIGITS, revision="v1")


def test_what_the_hub_refuses_is_said(hub: FakeHub) -> None:
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

    with pytest.raises(RepositoryNotFoundError):
        prism_fl.load("someone/absent")
    hub.commits["someone/empty"] = [{"README.md": b""}]
    with pytest.raises(EntryNotFoundError):
        prism_fl.load("someone/empty")
    before = len(hub.commits["someone/digits"])
    hub.complaint = '"library_name" must be a string'
    with pytest.raises(ValueError, match="library_name"):
        prism_fl.load(DIGITS).push_to_hub("someone/digits")
    hub.complaint = None
    assert len(hub.commits["someone/digits"]) == before


def test_a_hostile_file_on_the_hub_is_refused_like_any_other(hub: FakeHub) -> None:
    good = DIGITS.read_bytes()
    for number, bad in enumerate((good[:20000], good[:20000] + b"\x55" + good[20001:], b"")):
        hub.commits[f"someone/bad-{number}"] = [{"model.safetensors.zst": bad}]
        with pytest.raises(RuntimeError, match="cannot be used"):
            prism_fl.load(f"someone/bad-{number}")


def test_a_path_that_is_not_there_is_no_repository(hub: FakeHub, tmp_path: Path) -> None:
    for path in ("models/absent.safetensors.zst", tmp_path / "absent", "absent", "./absent", "a/b/c"):
        with pytest.raises(OSError, match="cannot read"):
            prism_fl.load(path)


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: prism_fl.load("someone/digits"), lambda: prism_fl.load(DIGITS).push_to_hub("someone/digits")):
        with pytest.raises(prism_fl.UsageError, match="needs the package huggingface_hub"):
            call()
