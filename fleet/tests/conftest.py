"""What all tests need."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from flwr.supercore.task_identity import TaskIdentity  # noqa: E402

# What Flower sets in a server app's process before the app is called.
TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
