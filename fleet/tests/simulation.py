"""The simulation of a fleet: `prism-train` on a folder that has the sites' folders in it."""

import os
import subprocess
import tomllib
from pathlib import Path

import pytest
import tiny

REPOSITORY = Path(__file__).parent.parent.parent
# What the fleet's settings say of the data, and the simulation finds out for itself.
PUBLIC = ("name", "class-names", "images")


def program() -> str:
    """The program `prism-train`: $PRISM_TRAIN, or what was last built in the repository."""
    built = [REPOSITORY / "target" / profile / "prism-train" for profile in ("release", "debug")]
    found = os.environ.get("PRISM_TRAIN") or next((str(path) for path in built if path.exists()), None)
    if found is None:
        pytest.skip("prism-train is not built: cargo build --release")
    return found


def simulate(settings: str, sites: dict[str, Path], folder: Path) -> Path:
    """The run folder of a simulation whose clients have the images of `sites`, in order of their names."""
    tables = tomllib.loads(settings)
    data_dir = folder / tables["data"]["name"]
    data_dir.mkdir(parents=True)
    for name, images in sites.items():
        (data_dir / name).symlink_to(images, target_is_directory=True)
    data = {key: value for key, value in tables.pop("data").items() if key not in PUBLIC}
    tables["data"] = data | {"dataset": "folder", "data-dir": str(data_dir)}
    tables["run"] = {"device": "cpu", "sample-every": 0}
    (folder / "settings.toml").write_text(tiny.toml(tables))
    command = [program(), "--config", str(folder / "settings.toml"), "--out", str(folder / "run"), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "run"
