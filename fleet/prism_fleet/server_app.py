"""The server's half of the Flower app: opens `prism_fl.Server` on its run folder and lets the federation run.

Everything that must outlive this process is in the run folder: the checkpoint, the metrics and who is which client. A
new `flwr run` on the same folder goes on from there.
"""

from pathlib import Path

import prism_fl
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from .envelope import digests
from .exchange import Fleet
from .federation import FleetError, check_settings, conduct, read_limits
from .files import read_settings, sole_user
from .roster import Roster

# A server app that was killed with its SuperLink notices within a second; its successor waits for that.
LOCK_PATIENCE = 15.0

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """One `flwr run`."""
    config = dict(context.run_config)
    settings_path, run_dir = str(config["settings"]), str(config["run-dir"])
    for key, value in (("settings", settings_path), ("run-dir", run_dir)):
        if not Path(value).is_absolute():
            remedy = f"give an absolute path on the SuperLink's machine, -c '{key}=\"/...\"'"
            raise FleetError(f"{key} is '{value}': {remedy}")
    settings = read_settings(Path(settings_path))
    check_settings(settings, settings_path)
    limits = read_limits(config)
    with sole_user(Path(run_dir), LOCK_PATIENCE):
        server = prism_fl.Server(settings, run_dir)
        roster = Roster(Path(run_dir), server.clients)
        fleet = Fleet(grid, roster, digests(settings), limits.concurrency, float(config["poll-seconds"]))
        conduct(server, fleet, limits)
