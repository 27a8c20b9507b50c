"""Flower's commands: the environment they get, the app they are given, and how a run really ended."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
# Each look starts an interpreter.
POLL_SECONDS = 3.0


class FlowerError(RuntimeError):
    """A command of Flower's failed, or a run did."""


def environment() -> dict[str, str]:
    """Ours, with this Python's commands first, and without telemetry and questions for newer versions."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**os.environ, "PATH": path, **quiet}


def lay_out_app(folder: Path) -> Path:
    """Writes the Flower app, as `flwr run` and `flwr build` take it, to `folder`."""
    # Installed, the package has the project's file inside; in the repository it lies beside the package.
    project = next(p for p in (PACKAGE / "pyproject.toml", PACKAGE.parent / "pyproject.toml") if p.exists())
    (folder / PACKAGE.name).mkdir(parents=True, exist_ok=True)
    shutil.copy(project, folder / "pyproject.toml")
    for module in PACKAGE.glob("*.py"):
        shutil.copy(module, folder / PACKAGE.name / module.name)
    return folder


class Flower:
    """`flwr` against one SuperLink."""

    def __init__(self, superlink: str, env: dict[str, str] | None = None) -> None:
        self.superlink = superlink
        self.env = environment() if env is None else env

    def start_run(self, app: Path, config: dict[str, Any]) -> str:
        """Starts a run of the app with values of [tool.flwr.app.config] changed; returns its id."""
        values = " ".join(f"{key}={json.dumps(value)}" for key, value in config.items())
        started = self._json("run", str(app), self.superlink, "--run-config", values)
        return str(started["run-id"])

    def register(self, public_key: Path, name: str) -> None:
        """Lets the node with this key take part."""
        self._json("supernode", "register", str(public_key), self.superlink, "--name", name)

    def status(self, run: str) -> tuple[str, str]:
        """A run's status, such as `running` or `finished:failed`, and what Flower says about it."""
        runs = self._json("list", self.superlink, "--run-id", run)["runs"]
        return str(runs[0]["status"]), str(runs[0]["status-details"])

    def follow(self, run: str) -> None:
        """Shows the run's log until it ends. `flwr` ends with 0 even if the run failed; `wait` tells how it was."""
        subprocess.run(["flwr", "log", run, self.superlink, "--stream"], env=self.env, check=False)

    def wait(self, run: str, timeout: float = float("inf")) -> None:
        """Waits for a run's end. Raises `FlowerError` where it failed or was stopped, or after `timeout` seconds."""
        end = time.monotonic() + timeout
        while not (status := self.status(run))[0].startswith("finished"):
            if time.monotonic() > end:
                raise FlowerError(f"run {run} is still {status[0]} after {timeout:g} s")
            time.sleep(POLL_SECONDS)
        if status[0] != "finished:completed":
            raise FlowerError(f"run {run} is {status[0]}: {status[1]}")

    def _json(self, *arguments: str) -> dict[str, Any]:
        command = ["flwr", *arguments, "--format", "json"]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            answer = {}
        if not isinstance(answer, dict) or not answer.get("success"):
            said = answer.get("error-message") if isinstance(answer, dict) else None
            said = " ".join(str(said or f"{done.stdout}{done.stderr} (exit code {done.returncode})").split())
            raise FlowerError(f"`flwr {' '.join(arguments[:2])}` failed: {said}")
        return answer
