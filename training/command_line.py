"""The options of the command line: names, defaults and what help says of them.

What help is made of, and the commands that look back at runs, are in training.commands.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from training.commands.help import (
    PROGRAM,
    Examples,
    Help,
    Parser,
    Version,
    add_command,
    epilog,
)
from training.commands.look_back import add_compare, add_experiments, add_report
from training.config import shipped_configurations
from training.sources.options import add_table_options

DEFAULT_DATA = "ml-latest-small"
DEFAULT_CONFIG, SMALL_CONFIG = "proven", "small"
STATE = Path(".usher")
RECORD = Path("results/accuracy.json")

DESCRIPTION = """\
Ratings in, an evaluated model bundle out.

train, evaluate, ablate and accuracy read ratings, split them by a protocol and keep what they
found; experiments, report and compare look back at it. make calls the same commands, and each has
a --help of its own. Progress goes to standard error, results to standard output."""
OVERVIEW: Examples = (
    ("train the small configuration on MovieLens latest-small, register the model",
     f"{PROGRAM} train --config small --data ml-latest-small"),
    ("look at the newest run", f"{PROGRAM} report"),
    ("set two runs side by side", f"{PROGRAM} compare .usher/runs/a .usher/runs/b"),
)  # fmt: skip
TRAIN: Examples = (
    ("the default data with the configuration made for its size", f"{PROGRAM} train"),
    ("a file of your own",
     f"{PROGRAM} train --data mine.csv --rating-column stars --time-column when"),
    ("one value changed, from another seed, for a script",
     f"{PROGRAM} train --data ml-1m --set training.max_epochs=40 --seed 2 --json"),
    ("go on where Ctrl-C stopped it", f"{PROGRAM} train --data ml-1m --resume"),
)  # fmt: skip
TRAINED = """\
  {"tag": "usher:...", "digest", "metrics": {figure: value}, "baselines": {name: {figure: value}},
   "split_digest", "warnings": [...], "report": path of report.json, "page": path of report.html}"""
EVALUATE: Examples = (
    ("held-out users: how well new users are served",
     f"{PROGRAM} evaluate --config small --data ml-100k --protocol users"),
    ("every figure as JSON", f"{PROGRAM} evaluate --data ml-1m --json"),
)  # fmt: skip
ABLATE: Examples = (
    ("two changes, each from seeds 1, 2 and 3",
     f"{PROGRAM} ablate --data ml-100k --variant network.dropout=0.2 "
     "--variant 'training.kl.weight=0.1 training.kl.schedule=cosine'"),
)  # fmt: skip
ACCURACY: Examples = (
    ("one model on one data set, all its seeds", f"{PROGRAM} accuracy --only ml-1m:best"),
    ("one cell again, for a script", f"{PROGRAM} accuracy --only ml-1m:users:ease --again --json"),
)  # fmt: skip


def parser() -> Parser:
    """What can be asked of `python -m training`; `command` names what was asked."""
    parser = Parser(
        prog=PROGRAM, description=DESCRIPTION, epilog=epilog(OVERVIEW), formatter_class=Help
    )
    parser.add_argument("--version", action=Version, nargs=0, help="print the version and end")
    commands = parser.add_subparsers(required=True, dest="command", metavar="command")
    _add_train(commands)
    _add_evaluate(commands)
    _add_ablate(commands)
    _add_accuracy(commands)
    add_experiments(commands)
    add_report(commands)
    add_compare(commands)
    return parser


def _add_train(commands: Any) -> None:
    sub = add_command(commands, "train", "train, evaluate and register a model", TRAIN, TRAINED)
    _add_options(sub)
    sub.add_argument("--json", action="store_true", help="print what was made as JSON")


def _add_evaluate(commands: Any) -> None:
    text = "train and score by a protocol; register nothing"
    sub = add_command(commands, "evaluate", text, EVALUATE, "  the report, as report.json holds it")
    _add_options(sub)
    sub.add_argument("--json", action="store_true", help="print the report as JSON")


def _add_ablate(commands: Any) -> None:
    text = "try changes of a configuration from several seeds, on validation rows only"
    printed = "  [{variant, seed, figures, epoch, epochs, seconds, warnings, code}, ...]"
    sub = add_command(commands, "ablate", text, ABLATE, printed)
    group = sub.add_argument_group("what is tried")
    group.add_argument(
        "--variant", action="append", default=[], metavar="'KEY=VALUE ...'",
        help="a change to try, beside the configuration as it is; repeat for more (default: none)",
    )  # fmt: skip
    group.add_argument(
        "--seeds", type=int, nargs="+", default=[1, 2, 3], help="training seeds (default: 1 2 3)"
    )
    sub.set_defaults(
        seed=None, resume=False, pairwise=False,
        processes=1, machines=1, machine_rank=None, main_address=None,
    )  # fmt: skip
    _add_recipe(sub, "ablations")
    sub.add_argument("--json", action="store_true", help="print every trial as JSON")


def _add_accuracy(commands: Any) -> None:
    text = "measure models, baselines and peers on the same rows and print one table"
    printed = "  the rows that match, as the record holds them: [{data, protocol, model, ...}, ...]"
    sub = add_command(commands, "accuracy", text, ACCURACY, printed)
    sub.add_argument(
        "--only", type=lambda patterns: patterns.replace(",", " ").split(), default=[],
        metavar="PATTERNS",
        help="a part: patterns such as ml-1m, best, ml-1m:best, ml-1m:users:ease (default: the "
        "whole table, which takes many hours)",
    )  # fmt: skip
    sub.add_argument("--record", type=Path, default=RECORD, metavar="FILE", help="where rows go")
    sub.add_argument("--again", action="store_true", help="measure what is measured already")
    sub.add_argument(
        "--keep-older", action="store_true",
        help="let rows stand that other code or settings have made",
    )  # fmt: skip
    sub.add_argument("--json", action="store_true", help="print the rows as JSON")


def _add_options(parser: argparse.ArgumentParser) -> None:
    recipe = _add_recipe(parser, "runs")
    recipe.add_argument(
        "--seed", type=int, metavar="N", help="training seed (default: the configuration's)"
    )
    how = parser.add_argument_group("how it runs")
    how.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    how.add_argument(
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


def _add_recipe(parser: argparse.ArgumentParser, folder: str) -> Any:
    """What is fitted on what; `folder` of the state is where it goes."""
    names = ", ".join(shipped_configurations())
    group = parser.add_argument_group("what is fitted on what")
    group.add_argument(
        "--config", metavar="NAME",
        help=f"{names}, or a .yaml file (default: {DEFAULT_CONFIG} for data that is "
        f"named, {SMALL_CONFIG} for the default data)",
    )  # fmt: skip
    group.add_argument(
        "--data", metavar="NAME",
        help=f"a MovieLens name, synthetic[:users=..,items=..,ratings=..,seed=..], or a .csv or "
        f".parquet file (default: {DEFAULT_DATA}, or synthetic where that cannot be had)",
    )  # fmt: skip
    group.add_argument(
        "--protocol", metavar="NAME", help="how rows are split (default: the configuration's)"
    )
    group.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="one value of the configuration, e.g. training.max_epochs=5; repeat for more "
        "(default: none is changed)",
    )  # fmt: skip
    group.add_argument(
        "--given-ratings", type=Path, metavar="FILE",
        help="ratings people gave a service, laid over the data; make pull-ratings writes them "
        "(default: none)",
    )  # fmt: skip
    group.add_argument(
        "--folder", type=Path,
        help=f"where checkpoints and the report go (default: {STATE}/{folder}"
        f"{'/CONFIG-DATA-PROTOCOL-SEED' if folder == 'runs' else ''})",
    )  # fmt: skip
    add_table_options(parser)
    return group
