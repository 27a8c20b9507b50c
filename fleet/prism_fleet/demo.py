"""`prism-fleet demo`: three sites and a server on this machine, one run, a model and a picture."""

import shutil
from pathlib import Path

import prism_fl

from .loopback import LoopbackFleet
from .pictures import CLASSES, write_folder

SITES = 3
IMAGES_PER_CLASS = 60
SETTINGS = """\
# What server and sites agree on: each has this file.
[federation]
clients = {sites}
mode = "{mode}"
rounds = 4
local-steps = 20

[data]
name = "shapes"
channels = 1
class-names = ["disc", "square", "stripes"]
images = {images}
partition = "sites"

[model]
image-size = 16
ngf = 8

[training]
batch-size = 30
classes-per-step = 3
"""


def settings(mode: str) -> str:
    """The demo's settings file."""
    return SETTINGS.format(sites=SITES, mode=mode, images=SITES * len(CLASSES) * IMAGES_PER_CLASS)


def demo(folder: Path, mode: str, secure_sum: bool = False) -> None:
    """Makes the sites, runs the federation, draws from its model and ends all processes."""
    if secure_sum and mode != "rounds":
        raise ValueError(f"--secure-sum hides masks and --mode {mode} sends none: leave one of them out")
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: choose another folder with --out, or remove it")
    print(f"three sites with pictures, keys and certificates in {folder}", flush=True)
    text = settings(mode) + ('[wire]\ncodec = "sums"\n' if secure_sum else "")
    with LoopbackFleet(folder, text, SITES) as fleet:
        for number, site in enumerate(fleet.sites):
            write_folder(site / "images", IMAGES_PER_CLASS, seed=number)
        if secure_sum:
            fleet.gather_keys()
        logs = fleet.folder / "logs"
        print(f"a SuperLink on port {fleet.port} (TLS) and a SuperNode a site (own key); logs in {logs}", flush=True)
        fleet.start()
        run = fleet.start_run(min_clients=SITES, join_timeout=180)
        fleet.flower.follow(run)
        fleet.flower.wait(run)
    # The run is finished: opened again, it only says where its model is.
    made = Path(prism_fl.Server((fleet.folder / "settings.toml").read_text(), str(fleet.run_dir)).export())
    model, picture = fleet.folder / "model.safetensors.zst", fleet.folder / "samples.png"
    shutil.copy(made, model)
    shutil.copy(made.with_name("samples.png"), picture)
    print(f"model    {model} ({model.stat().st_size:,} bytes)\npicture  {picture}")
