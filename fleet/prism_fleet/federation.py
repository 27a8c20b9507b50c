"""A federation from its first message to its model: which question is put to whom, and when the run has to end.

```text
setup    all clients answer each exchange                server.end_exchange()   none, one or several times
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
    """How long the server waits, in seconds, for how many clients, and how many it asks at the same time (0: all)."""

    min_clients: int = 1
    concurrency: int = 0
    join: float = 120.0
    setup: float = 3600.0
    round: float = 600.0


def conduct(server: prism_fl.Server, fleet: Fleet, limits: Limits) -> str:
    """Runs what is left of the federation; returns the model's path. Raises `FleetError` if too few clients answer."""
    if limits.min_clients > server.clients:
        found = f"min-clients is {limits.min_clients} and the settings have {server.clients} clients"
        raise FleetError(f"{found}: give at most as many")
    if server.phase == "setup" or (server.phase == "rounds" and server.mode == "rounds"):
        fleet.gather(limits.join)
    hold_exchanges(server, fleet, limits, limits.setup)
    while server.phase == "rounds":
        if server.mode == "one-shot":
            report(server.end_round(), server.rounds, None)
        else:
            hold_round(server, fleet, limits)
    model = server.export()
    log.info("model: %s", model)
    return model


def hold_exchanges(server: prism_fl.Server, fleet: Fleet, limits: Limits, patience: float) -> None:
    """All that is due beside broadcasts and updates, also with clients that connect while it goes on."""
    while exchange := server.exchange():
        title, clients = exchange
        errand = Errand("exchange", title, server.request, server.accept_reply)
        outcome = fleet.exchange(errand, clients, patience)
        check(title, outcome, limits, fleet)
        server.end_exchange()
        log.info("%s: %s", title, summary(outcome, fleet))


def hold_round(server: prism_fl.Server, fleet: Fleet, limits: Limits) -> None:
    """Broadcast, updates, aggregation."""
    title = f"round {server.round}"
    online = fleet.wait_for(limits.min_clients, limits.round)
    if len(online) < limits.min_clients:
        found = f"{len(online)} of at least {limits.min_clients} clients connected after {limits.round:g} s"
        raise FleetError(f"{title}: {found}; {RESUME}")
    errand = Errand("round", title, server.broadcast, server.accept, server.snapshot, server.start_request)
    server.ask(sorted(online))
    # Under secure sums, keys and their shares come before the updates, and what undoes the masks after them.
    hold_exchanges(server, fleet, limits, limits.round)
    outcome = fleet.exchange(errand, server.cohort(), limits.round)
    check(title, outcome, limits, fleet)
    server.close()
    hold_exchanges(server, fleet, limits, limits.round)
    metrics = server.end_round()
    # Only who was due: with a fraction of the clients in a round, others may be away without being missed.
    away = set(metrics.get("missing", ())) - online.keys()
    outcome.missing.update(dict.fromkeys(away, "not connected when the round began"))
    report(metrics, server.rounds, summary(outcome, fleet))


def check(title: str, outcome: Outcome, limits: Limits, fleet: Fleet) -> None:
    """Raises `FleetError` where fewer clients than the minimum answered."""
    if len(outcome.answered) < limits.min_clients:
        found = f"{len(outcome.answered)} of at least {limits.min_clients} clients answered"
        raise FleetError(f"{title}: {found} ({summary(outcome, fleet)}); {RESUME}")


def summary(outcome: Outcome, fleet: Fleet) -> str:
    """Who answered and who was missing, in one line."""
    missing = [f"{fleet.roster.label(client)}: {reason}" for client, reason in sorted(outcome.missing.items())]
    return "; ".join([f"{len(outcome.answered)} answered", *missing])


def report(metrics: dict[str, Any], rounds: int, who: str | None) -> None:
    """One line a round; the server itself keeps metrics.jsonl, which has all figures."""
    traffic = f"up {metrics['uplink_bytes']:,} bytes, down {metrics['downlink_bytes']:,}"
    parts = [who, traffic] if who else [f"loss {metrics['loss']:.4f}"]
    log.info("round %d/%d: %s; %.1f s", metrics["round"], rounds, "; ".join(parts), metrics["seconds"])
    if failed := metrics.get("failed"):
        log.warning("round %d changed nothing: its secure sum could not be opened: %s", metrics["round"], failed)


def read_limits(config: dict[str, Any]) -> Limits:
    """The limits that a run's configuration sets. Raises `FleetError` where one is too small."""
    keys = {"min_clients": "min-clients", "join": "join-timeout", "setup": "setup-timeout", "round": "round-timeout"}
    keys["concurrency"] = "concurrency"
    found = {name: config[key] for name, key in keys.items() if key in config}
    for name, value in found.items():
        least = 0 if name == "concurrency" else 1
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < least:
            raise FleetError(f"{keys[name]} is {value!r}: it takes a number from {least} up")
    return Limits(**found)


def check_settings(text: str, path: str) -> None:
    """Raises `FleetError` where the file is no TOML; what it says is for `prism_fl` to judge."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FleetError(f"{path} is no TOML: {error}") from error
