"""The command `prism-fleet`."""

import argparse
import sys
from pathlib import Path

import prism_fl

from . import demo, dry_run
from .files import LOCK_PATIENCE, read_settings, sole_user
from .flower import Flower, lay_out_app
from .keys import write_certificates, write_node_key

WRONG_PATHS = (FileNotFoundError, FileExistsError, PermissionError, NotADirectoryError, IsADirectoryError)
LIMITS = ("min-clients", "concurrency", "join-timeout", "setup-timeout", "round-timeout")


def parser() -> argparse.ArgumentParser:
    """All subcommands; each sets `act`, which takes the parsed arguments."""
    top = argparse.ArgumentParser(prog="prism-fleet", description="PRISM federations on Flower (docs/fleet.md).")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("demo", help="three sites on this machine: TLS, keys, one run, a model and a picture")
    one.add_argument("--out", type=Path, default=Path("fleet-demo"), help="folder for all of it [fleet-demo]")
    one.add_argument("--mode", choices=("rounds", "one-shot"), default="rounds", help="who trains [rounds]")
    one.add_argument("--secure-sum", action="store_true", help="the server sees only sums; needs --mode rounds")
    one.set_defaults(act=lambda a: demo.demo(a.out, a.mode, a.secure_sum))

    one = commands.add_parser("dry-run", help="what a site would send, tried on its images; nothing leaves")
    one.add_argument("--settings", type=Path, required=True, help="the settings file that all agreed on")
    one.add_argument("--data-dir", type=Path, required=True, help="the site's images")
    one.set_defaults(act=lambda a: print(dry_run.report(read_settings(a.settings), a.data_dir)))

    one = commands.add_parser("identity", help="print a site's line for the list of peers that secure sums need")
    one.add_argument("--settings", type=Path, required=True, help="the settings file that all agreed on")
    one.add_argument("--data-dir", type=Path, required=True, help="the site's images")
    one.add_argument("--state-dir", type=Path, required=True, help="the site's state folder; it keeps the secret half")
    one.add_argument("--client", type=int, required=True, help="the site's number")
    one.set_defaults(act=identity)

    one = commands.add_parser("key", help="make a node's key: FILE stays at the site, FILE.pub goes to the operator")
    one.add_argument("file", type=Path)
    one.set_defaults(act=lambda a: print(write_node_key(a.file)))

    one = commands.add_parser("certificates", help="make the SuperLink's certificate, and ca.pem for the sites")
    one.add_argument("--host", required=True, help="the name or address by which the sites reach the SuperLink")
    one.add_argument("folder", type=Path)
    one.set_defaults(act=lambda a: write_certificates(a.folder, a.host))

    one = commands.add_parser("app", help="write the Flower app to a folder, for `flwr run` and `flwr build`")
    one.add_argument("folder", type=Path)
    one.set_defaults(act=lambda a: print(lay_out_app(a.folder)))

    one = commands.add_parser("run", help="flwr run, its log, and an exit code that says whether the run succeeded")
    one.add_argument("app", type=Path, help="the app's folder")
    one.add_argument("superlink", help="the SuperLink's name in Flower's config.toml")
    one.add_argument("--settings", required=True, help="settings file on the SuperLink's machine")
    one.add_argument("--run-dir", required=True, help="run folder on the SuperLink's machine, new or to resume")
    for limit in LIMITS:
        one.add_argument(f"--{limit}", type=float if "timeout" in limit else int, help="as in the app's pyproject.toml")
    one.set_defaults(act=run)
    return top


def identity(a: argparse.Namespace) -> None:
    """Prints a client's number and public key."""
    settings = read_settings(a.settings)
    # A node that runs makes the same key at its first answer.
    with sole_user(a.state_dir, LOCK_PATIENCE):
        client = prism_fl.Client(settings, str(a.data_dir), str(a.state_dir), a.client)
        print(f"{a.client} {client.public_key}")


def run(a: argparse.Namespace) -> None:
    """Starts a run, shows its log and waits for its end."""
    given = {limit: getattr(a, limit.replace("-", "_")) for limit in LIMITS}
    flower = Flower(a.superlink)
    config = {"settings": a.settings, "run-dir": a.run_dir} | {k: v for k, v in given.items() if v is not None}
    number = flower.start_run(a.app, config)
    print(f"run {number}; it goes on without this command (flwr stop {number} {a.superlink} ends it)", flush=True)
    flower.follow(number)
    flower.wait(number)


def main() -> None:
    """Exit code 2 for what the user can mend, 1 for a failure."""
    arguments = parser().parse_args()
    try:
        arguments.act(arguments)
    except KeyboardInterrupt:
        sys.exit(130)
    except (prism_fl.UsageError, prism_fl.Refused, OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if is_mistake(error) else 1)


def is_mistake(error: Exception) -> bool:
    """Whether the user can mend it: not a full disk, a damaged file, or what Flower could not do."""
    if isinstance(error, OSError):
        # Those without a number are sentences of ours about what was given, or about what the system said of it.
        found = error.__cause__ if isinstance(error.__cause__, OSError) else error
        return found.errno is None or isinstance(found, WRONG_PATHS)
    return isinstance(error, (prism_fl.UsageError, ValueError))
