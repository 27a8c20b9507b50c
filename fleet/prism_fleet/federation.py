"""A federation from its first message to its model: which question is put to whom, and when the run has to end.

```text
setup    all clients answer each setup request           server.end_setup()      none, one or several times
rounds   asked clients answer the broadcast              server.end_round()      T times; one-shot: nobody is asked
export   the finished model
```

`prism_fl.Server` decides what is asked and what an answer is worth; it keeps every step in its run folder. So a run
that ended for whatever reason goes on where it stood when the app is started again on the same folder.
"""

import logging
import tomllib
from dataclasses import dataclass
from typing import Any

import prism_fl

from .exchange import Errand, Fleet, Outcome

RESUME = "nothing is lost: start the run again when they are back"

log = logging.getLogger("flwr.prism")


class FleetError(RuntimeError):
    """The run cannot go on now; nothing is lost."""


@dataclass(frozen=True)
class Limits:
    """How long the server waits, in seconds, and for how many clients."""

    min_clients: int = 1
    join: float = 120.0
    setup: float = 3600.0
    round: float = 600.0


def conduct(server: prism_fl.Server, fleet: Fleet, limits: Limits) -> str:
    """Runs what is left of the federation; returns the model's path. Raises `FleetError` if too few clients answer."""
    if server.phase == "setup" or (server.phase == "rounds" and server.mode == "rounds"):
        fleet.gather(limits.join)
    step = 0
    while server.phase == "setup":
        step += 1
        hold_setup(server, fleet, limits, step)
    while server.phase == "rounds":
        if server.mode == "one-shot":
            report(server.round, server.end_round(), None)
        else:
            hold_round(server, fleet, limits)
    model = server.export()
    log.info("model: %s", model)
    return model


def hold_setup(server: prism_fl.Server, fleet: Fleet, limits: Limits, step: int) -> None:
    """Puts one setup request to all clients, also to those that connect while it goes on."""
    errand = Errand("setup", f"setup {step}", server.setup_request, server.accept_setup)
    outcome = fleet.exchange(errand, range(server.clients), limits.setup)
    check(errand.title, outcome, limits, fleet)
    server.end_setup()
    log.info("%s: %s", errand.title, summary(outcome, fleet))


def hold_round(server: prism_fl.Server, fleet: Fleet, limits: Limits) -> None:
    """Broadcast, updates, aggregation."""
    number = server.round
    title = f"round {number}"
    online = fleet.wait_for(limits.min_clients, limits.round)
    if len(online) < limits.min_clients:
        found = f"{len(online)} of at least {limits.min_clients} clients connected after {limits.round:g} s"
        raise FleetError(f"{title}: {found}; {RESUME}")
    errand = Errand("round", title, server.broadcast, server.accept, server.snapshot)
    outcome = fleet.exchange(errand, server.ask(sorted(online)), limits.round)
    check(title, outcome, limits, fleet)
    report(number, server.end_round(), summary(outcome, fleet))


def check(title: str, outcome: Outcome, limits: Limits, fleet: Fleet) -> None:
    """Raises `FleetError` where fewer clients than the minimum answered."""
    if len(outcome.answered) < limits.min_clients:
        found = f"{len(outcome.answered)} of at least {limits.min_clients} clients answered"
        raise FleetError(f"{title}: {found} ({summary(outcome, fleet)}); {RESUME}")


def summary(outcome: Outcome, fleet: Fleet) -> str:
    """Who answered and who was missing, in one line."""
    missing = [f"{fleet.roster.label(client)}: {reason}" for client, reason in sorted(outcome.missing.items())]
    return "; ".join([f"{len(outcome.answered)} answered", *missing])


def report(number: int, metrics: dict[str, Any], who: str | None) -> None:
    """One line a round; the server itself keeps metrics.jsonl."""
    figures = [f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in metrics.items()]
    log.info("round %d: %s", number, "; ".join(([who] if who else []) + [", ".join(figures)]))


def read_limits(config: dict[str, Any]) -> Limits:
    """The limits that a run's configuration sets. Raises `FleetError` where one is below 1."""
    keys = {"min_clients": "min-clients", "join": "join-timeout", "setup": "setup-timeout", "round": "round-timeout"}
    found = {name: config[key] for name, key in keys.items() if key in config}
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 1:
            raise FleetError(f"{keys[name]} is {value!r}: it takes a number from 1 up")
    return Limits(**found)


def check_settings(text: str, path: str) -> None:
    """Raises `FleetError` where the file is no TOML; what it says is for `prism_fl` to judge."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FleetError(f"{path} is no TOML: {error}") from error
