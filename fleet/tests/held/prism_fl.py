"""The real module, whose clients wait where a test holds them: no fault then depends on how fast a machine is.

```text
$PRISM_HOLD/1-before    as long as it is there, client 1 does not begin to train; it leaves 1-before.reached beside it
$PRISM_HOLD/1-after     ... does not answer, although it has trained and saved it
$PRISM_HOLD/server      ... the server does not end its round
```

For measurements, $PRISM_SECONDS is how much longer than it takes each client's round shall take.
"""

import importlib.machinery
import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Any


def _real() -> Any:
    """The module that this one stands before on the path."""
    here = Path(__file__).parent
    path = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    spec = importlib.machinery.PathFinder.find_spec("prism_fl", path)
    assert spec is not None and spec.loader is not None, "prism_fl is not installed"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_module = _real()
globals().update({name: value for name, value in vars(_module).items() if not name.startswith("_")})
__version__ = _module.__version__


def _wait(point: str) -> None:
    hold = Path(os.environ["PRISM_HOLD"]) / point
    while hold.exists():
        hold.with_name(f"{point}.reached").touch()
        time.sleep(0.05)


class Client:
    """`prism_fl.Client`, held before and after it trains."""

    def __init__(self, settings: str, data_dir: str, state_dir: str, client: int) -> None:
        self._own, self._number = _module.Client(settings, data_dir, state_dir, client), client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def round(self, broadcast: bytes) -> Any:
        _wait(f"{self._number}-before")
        update = self._own.round(broadcast)
        time.sleep(float(os.environ.get("PRISM_SECONDS", "0")))
        _wait(f"{self._number}-after")
        return update


class Server:
    """`prism_fl.Server`, held before it ends a round."""

    def __init__(self, settings: str, run_dir: str) -> None:
        self._own = _module.Server(settings, run_dir)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def end_round(self) -> Any:
        _wait("server")
        return self._own.end_round()
