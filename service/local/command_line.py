"""What can be asked of `python -m service.local`, and what help says of it."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import Any, NoReturn

from service.local.bento_server import ROOT

PROGRAM = "python -m service.local"
GIVEN = "given-ratings.csv"
DESCRIPTION = """\
Run the service on this machine, with a Redis of its own where none is configured.

The environment says the rest (USHER_MODEL, USHER_API_KEYS, ...): docs/configuration.md lists it.
make calls the same commands. Results go to standard output, what went wrong to standard error."""
EXIT_CODES = """\
exit codes:
  0    done; a service that was asked to stop has stopped
  1    the service failed: its log says how, and where that is is told
  2    something a person can put right, told in one sentence
  130  stopped before there was a result"""
Examples = tuple[tuple[str, str], ...]
SERVE: Examples = (
    ("on port 3000, until Ctrl-C", f"{PROGRAM} serve"),
    ("on another port, ratings and logs in another folder",
     f"{PROGRAM} serve --port 8000 --state ../usher-state"),
)  # fmt: skip
DEMO: Examples = (("ask a live service for one user's top 10, then stop it", f"{PROGRAM} demo"),)
ACTIVATE: Examples = (
    ("serve another version, in running services too",
     f"{PROGRAM} activate --model usher:20261124-031110-small"),
)  # fmt: skip
PULL: Examples = (
    ("for the next training run to lay over its data", f"{PROGRAM} pull"),
    ("into a file of your choice", f"{PROGRAM} pull --to given.csv"),
)  # fmt: skip


class Parser(argparse.ArgumentParser):
    """A parser whose refusals are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Refuse in one sentence, exit code 2."""
        self.exit(2, f"{message}; {self.prog} --help tells what can be asked.\n")


def parser() -> Parser:
    """`command` names what was asked."""
    parser = Parser(
        prog=PROGRAM,
        description=DESCRIPTION,
        epilog=_epilog(SERVE + DEMO + ACTIVATE + PULL),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    parser.add_argument(
        "--version", action="version", version=f"usher {version}", help="print the version and end"
    )
    commands = parser.add_subparsers(required=True, dest="command", metavar="command")
    serve = _command(commands, "serve", "serve the active, else the newest model", SERVE)
    serve.add_argument(
        "--port", type=port_number, default=3000, metavar="N",
        help="where it listens, on loopback (default: 3000)",
    )  # fmt: skip
    _command(commands, "demo", "serve on a free port, print one user's top 10, stop", DEMO)
    activate = _command(commands, "activate", "serve another model from now on", ACTIVATE)
    activate.add_argument(
        "--model",
        type=model_name,
        required=True,
        metavar="TAG",
        help="a tag, or a bundle's folder (required)",
    )
    pull = _command(commands, "pull", "write the ratings people gave to a file", PULL)
    pull.add_argument(
        "--to", type=Path, metavar="FILE", help=f"where they go (default: STATE/{GIVEN})"
    )
    return parser


def port_number(text: str) -> int:
    """A port from the command line. Raises ArgumentTypeError with what a port is."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port: give a number from 1 to 65535")
    return int(text)


def model_name(text: str) -> str:
    """A model from the command line. Raises ArgumentTypeError if none is named."""
    if not text.strip():
        raise argparse.ArgumentTypeError("a model must be named: make activate MODEL=usher:VERSION")
    return text


def _command(commands: Any, name: str, text: str, examples: Examples) -> argparse.ArgumentParser:
    sub: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", epilog=_epilog(examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    sub.add_argument(
        "--state", type=Path, default=ROOT / ".usher", metavar="FOLDER",
        help="folder of models, logs and given ratings (default: .usher beside this code)",
    )  # fmt: skip
    return sub


def _epilog(examples: Examples) -> str:
    told = "\n".join(f"  # {what}\n  {command}" for what, command in examples)
    return f"examples:\n{told}\n\n{EXIT_CODES}"
