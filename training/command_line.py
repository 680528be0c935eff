"""The options of the command line: names, defaults and what help says of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from training.config import shipped_configurations
from training.sources.options import add_table_options

DEFAULT_DATA = "ml-latest-small"
DEFAULT_CONFIG, SMALL_CONFIG = "proven", "small"
STATE = Path(".usher")
RECORD = Path("results/accuracy.json")


def parser() -> argparse.ArgumentParser:
    """What can be asked of `python -m training`; `command` names what was asked."""
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Ratings in, an evaluated model bundle out.",
        epilog="exit codes: 0 done, 2 something to put right, 130 interrupted",
    )
    commands = parser.add_subparsers(required=True, dest="command", metavar="command")
    for command, text in (
        ("train", "train, evaluate and register a model"),
        ("evaluate", "train and score by a protocol; register nothing"),
    ):
        sub = commands.add_parser(command, help=text, description=text.capitalize() + ".")
        _add_options(sub)
    commands.choices["evaluate"].add_argument(
        "--json", action="store_true", help="print the report as JSON"
    )
    _add_ablate(commands)
    _add_accuracy(commands)
    _add_experiments(commands)
    return parser


def _add_ablate(commands: Any) -> None:
    text = "try changes of a configuration from several seeds, on validation rows only"
    sub = commands.add_parser("ablate", help=text, description=text.capitalize() + ".")
    sub.add_argument(
        "--variant", action="append", default=[], metavar="'KEY=VALUE ...'",
        help="a change to try, beside the configuration as it is; repeat for more",
    )  # fmt: skip
    sub.add_argument(
        "--seeds", type=int, nargs="+", default=[1, 2, 3], help="training seeds (default: 1 2 3)"
    )
    sub.add_argument("--json", action="store_true", help="print every trial as JSON")
    _add_recipe(sub)


def _add_experiments(commands: Any) -> None:
    text = "print the recorded runs from best to worst"
    sub = commands.add_parser("experiments", help=text, description=text.capitalize() + ".")
    sub.add_argument("--data", help="only runs on this data, e.g. ml-1m")
    sub.add_argument("--protocol", help="only runs by this protocol")
    sub.add_argument("--by", choices=("rmse", "ndcg"), default="rmse", help="the order")
    sub.add_argument("--last", type=int, metavar="N", help="only the N runs begun last")
    sub.add_argument("--json", action="store_true", help="print all that is known, as JSON")


def _add_accuracy(commands: Any) -> None:
    text = "measure models, baselines and peers on the same rows and print one table"
    sub = commands.add_parser("accuracy", help=text, description=text.capitalize() + ".")
    sub.add_argument(
        "--only", type=lambda patterns: patterns.replace(",", " ").split(), default=[],
        help="a part: patterns such as ml-1m, best, ml-1m:best, ml-1m:users:ease",
    )  # fmt: skip
    sub.add_argument("--record", type=Path, default=RECORD, help=f"where rows go ({RECORD})")
    sub.add_argument("--again", action="store_true", help="measure what is measured already")
    sub.add_argument(
        "--keep-older", action="store_true",
        help="let rows stand that other code or settings have made",
    )  # fmt: skip


def _add_options(parser: argparse.ArgumentParser) -> None:
    _add_recipe(parser)
    parser.add_argument("--seed", type=int, help="training seed, in place of the configuration's")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument(
        "--pairwise", action="store_true", help="add the pairwise VAE to the baselines (slow)"
    )
    _add_cluster(parser)


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "several processes", "fit together, each on users of its own; batches stay as large"
    )
    group.add_argument(
        "--processes", type=int, default=1, metavar="N",
        help="processes on each machine (default: 1); a GPU each, where there are as many",
    )  # fmt: skip
    group.add_argument(
        "--machines", type=int, default=1, metavar="N",
        help="machines, all of them given this same command (default: 1)",
    )  # fmt: skip
    group.add_argument(
        "--machine-rank", type=int, metavar="R",
        help="which of them this is, from 0, which alone evaluates and keeps (default: NODE_RANK)",
    )  # fmt: skip
    group.add_argument(
        "--main-address", metavar="HOST:PORT",
        help="a free port of machine 0 (default: MASTER_ADDR and MASTER_PORT)",
    )  # fmt: skip


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(
        seed=None, resume=False, pairwise=False,
        processes=1, machines=1, machine_rank=None, main_address=None,
    )  # fmt: skip
    names = ", ".join(shipped_configurations())
    parser.add_argument(
        "--config",
        help=f"{names}, or a .yaml file (default: {DEFAULT_CONFIG} for data that is "
        f"named, {SMALL_CONFIG} for the default data)",
    )
    parser.add_argument(
        "--data",
        help=f"a MovieLens name, synthetic[:users=..,items=..,ratings=..,seed=..], or a .csv or "
        f".parquet file (default: {DEFAULT_DATA}, or synthetic where that cannot be had)",
    )
    parser.add_argument("--protocol", help="how rows are split, in place of the configuration's")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="override one value of the configuration, e.g. training.max_epochs=5",
    )  # fmt: skip
    parser.add_argument(
        "--folder", type=Path, help=f"where checkpoints and the report go ({STATE}/runs/...)"
    )
    parser.add_argument(
        "--given-ratings", type=Path, metavar="FILE",
        help="ratings people gave a service, laid over the data; make pull-ratings writes them",
    )  # fmt: skip
    add_table_options(parser)
