"""What all tests need."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fake_grid import make_grid, run  # noqa: E402
from flwr.supercore.task_identity import TaskIdentity  # noqa: E402

# What Flower sets in a server app's process before the app is called.
TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The model of a run on a fake SuperLink in which all went well."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return run(make_grid(folder), folder / "run")
