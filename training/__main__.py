"""The command line of training, `python -m training --help`. The only wiring.

Exit codes: 0 done, 1 a mistake of ours, 2 something a person can put right (told in one sentence),
130 interrupted. Standard output holds the result alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from training.cluster import cluster_of
from training.command_line import DEFAULT_CONFIG, DEFAULT_DATA, SMALL_CONFIG, STATE, parser
from training.commands import look_back
from training.commands.terminal import WIDEST, Terminal, output, voice
from training.config import Configuration, load_configuration
from training.errors import DataUnavailable, TrainingError
from training.ratings import Ratings
from training.sources import SourceSettings, is_file, load_ratings, with_given
from training.sources.options import described

if TYPE_CHECKING:
    from models.bundle import Bundle
    from training.request import Request
    from training.run import Outcome

# On a machine with other work, threads that spin at every barrier cost torch a factor of four; it
# reads this when it loads, which is later.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

STAND_IN = "synthetic"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = parser().parse_args(arguments)
    console = Console(stderr=True, emoji=False)  # ml-1m:b:… is no emoji
    # The store that make and the local service use; BentoML reads both when it loads, later.
    os.environ.setdefault("BENTOML_HOME", str(STATE.resolve() / "bentoml"))
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    try:
        if options.command in look_back.COMMANDS:
            terminal = Terminal(console, output(WIDEST))
            look_back.COMMANDS[options.command](options, terminal, STATE)
            return 0
        return COMMANDS[options.command](options, console)
    except TrainingError as error:
        return _refused(str(error), console)
    except BrokenPipeError:  # whoever read the result, such as head, has had enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a folder that cannot be written, a disk that is full
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _refused(f"{what}; make room there, or choose another folder.", console)
    except KeyboardInterrupt:
        return 130


def train(options: argparse.Namespace, console: Console) -> int:
    """Train, evaluate and register a bundle in the model store."""
    from training.publish import new_version, publish, register  # torch loads when needed
    from training.report import print_report

    request = _request(options, console)
    if not request.cluster.leads:
        return _take_part(request)
    done = _carry_out(options, request)
    if done is None:
        return 130
    outcome, paths = done
    if not options.json:
        print_report(outcome.report, output())
    version = new_version(request.configuration, datetime.now(UTC))
    STATE.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=STATE) as folder,
        console.status("Exporting and checking the graphs"),
    ):
        bundle = publish(
            outcome.network,
            request.ratings,
            request.split,
            request.configuration,
            outcome.figures,
            outcome.interval,
            version,
            Path(folder) / version,
        )
        bundle = register(bundle)
    parity = bundle.manifest.parity
    request.say(
        f"Registered usher:{version} (digest {bundle.digest[:12]}; ONNX and torch differ by at "
        f"most {parity.max_abs_difference:.1e} on {parity.histories} histories)."
    )
    if options.json:
        print(json.dumps(_made(bundle, outcome, paths), indent=2))
    return 0


def _made(bundle: Bundle, outcome: Outcome, paths: Paths) -> dict[str, Any]:
    """What `train --json` prints; the help of train documents it."""
    manifest = bundle.manifest
    return {
        "tag": f"usher:{manifest.version}",
        "digest": bundle.digest,
        "metrics": manifest.metrics,
        "baselines": manifest.baselines,
        "split_digest": manifest.protocol.split_digest,
        "warnings": outcome.report.warnings,
        "report": str(paths.report),
        "page": str(paths.page),
    }


def evaluate(options: argparse.Namespace, console: Console) -> int:
    """Train and score by a protocol without registering anything."""
    from training.report import print_report

    request = _request(options, console)
    if not request.cluster.leads:
        return _take_part(request)
    done = _carry_out(options, request)
    if done is None:
        return 130
    outcome, _ = done
    if options.json:
        print(outcome.report.model_dump_json(indent=2))
    else:
        print_report(outcome.report, output())
    return 0


def _take_part(request: Request) -> int:
    """Fit with the first machine, which does all the rest."""
    from training.run import take_part

    if not take_part(request):
        _tell_interrupted(request)
        return 130
    request.say("Fitted with the others; the machine of rank 0 evaluates and keeps the model.")
    return 0


@dataclass(frozen=True)
class Paths:
    """Where a run's report and its page are."""

    report: Path
    page: Path


def _carry_out(options: argparse.Namespace, request: Request) -> tuple[Outcome, Paths] | None:
    """Run the experiment and write its report; None if it was interrupted, which is told."""
    from training.code_version import code_version
    from training.experiments.entry import finished, started
    from training.experiments.recording import recorded
    from training.report import write_report
    from training.report.found import note_newest
    from training.report.page import write_page
    from training.run import run

    about = started(request, options.command, code_version())
    with recorded(about, STATE, request.say) as recording:
        outcome = run(request)
        if outcome is None:
            _tell_interrupted(request)
            return None
        path = write_report(outcome.report, request.folder)
        page = write_page(outcome.report, request.folder)
        recording.finish(finished(outcome.report, path))
    note_newest(path, STATE)
    request.say(f"Report: {path}, and to look at: {page}")
    return outcome, Paths(path, page)


def accuracy(options: argparse.Namespace, console: Console) -> int:
    """Measure models and peers on the same rows; what is measured already is only shown."""
    from training.accuracy.command import Job, measure
    from training.accuracy.plan import planned
    from training.accuracy.record import Record
    from training.accuracy.table import accuracy_table

    cells, record = planned(options.only), Record(options.record)
    job = Job(
        cells, record, STATE, SourceSettings.from_environment(os.environ), voice(console),
        again=options.again, keep_older=options.keep_older,
    )  # fmt: skip
    failed = measure(job)
    shown = [row for row in record.read().rows if row.cell in cells]
    if options.json:
        print(json.dumps([row.model_dump(mode="json") for row in shown], indent=2))
    else:
        output(width=140).print(accuracy_table(shown))
    return 2 if failed else 0


def ablate(options: argparse.Namespace, console: Console) -> int:
    """Try changes of a configuration from several seeds on validation rows."""
    from training.ablation import BASE, Ablation, ablate, ablation_table

    request = _request(options, console)
    variants = {BASE: request.configuration} | {
        text: _configuration(options, text.split()) for text in options.variant
    }
    folder = options.folder or STATE / "ablations"
    folder.mkdir(parents=True, exist_ok=True)
    trials = ablate(
        Ablation(
            request.ratings, request.split, variants, options.seeds, folder, request.state,
            request.say,
        )
    )  # fmt: skip
    if options.json:
        print(json.dumps([trial.model_dump() for trial in trials], indent=2))
        return 0
    source, protocol = request.ratings.origin.source, request.split.protocol
    title = f"{request.configuration.name} on {source}, {protocol}, validation rows"
    output().print(ablation_table(trials, title))
    return 0


def _request(options: argparse.Namespace, console: Console) -> Request:
    from training.request import Request
    from training.split import split_ratings

    configuration = _configuration(options)
    cluster = cluster_of(options, os.environ)
    name = options.data or DEFAULT_DATA
    settings = described(
        SourceSettings.from_environment(os.environ), options, name, is_file=is_file(name)
    )
    ratings = _ratings(options.data, settings, console)
    if options.given_ratings is not None:
        ratings = with_given(ratings, options.given_ratings)
    evaluation = configuration.evaluation
    split = split_ratings(
        ratings, evaluation.protocol, evaluation.split_seed,
        liked_from=evaluation.liked_from, settings=settings,
    )  # fmt: skip
    folder = options.folder or _run_folder(configuration, ratings)
    return Request(
        ratings, split, configuration, folder, voice(console),
        resume=options.resume, progress=console.is_terminal, pairwise=options.pairwise,
        cluster=cluster,
    )  # fmt: skip


def _configuration(options: argparse.Namespace, changes: Sequence[str] = ()) -> Configuration:
    overrides = [*options.set, *changes]
    if options.protocol:
        overrides.append(f"evaluation.protocol={options.protocol}")
    if options.seed is not None:
        overrides.append(f"seed={options.seed}")
    name = options.config or (DEFAULT_CONFIG if options.data else SMALL_CONFIG)
    return load_configuration(name, overrides)


def _ratings(name: str | None, settings: SourceSettings, console: Console) -> Ratings:
    """The named ratings; nobody who named none is stopped by a missing network."""
    try:
        return load_ratings(name or DEFAULT_DATA, settings)
    except DataUnavailable as unavailable:
        if name is not None:
            raise
        console.print(
            f"{unavailable} Using synthetic ratings instead.", highlight=False, soft_wrap=True
        )
        return load_ratings(STAND_IN, settings)


def _run_folder(configuration: Configuration, ratings: Ratings) -> Path:
    source = "".join(c if c.isalnum() or c in "._-" else "-" for c in ratings.origin.source)
    name = f"{configuration.name}-{source}-{configuration.evaluation.protocol}-{configuration.seed}"
    return STATE / "runs" / name


def _refused(sentence: str, console: Console) -> int:
    console.print(f"[red]usher:[/red] {escape(sentence)}", highlight=False, soft_wrap=True)
    return 2


def _tell_interrupted(request: Request) -> None:
    found = sorted(request.folder.rglob("best.ckpt"), key=lambda path: path.stat().st_mtime)
    kept = f"The best checkpoint so far is {found[-1]}" if found else "No epoch was finished"
    request.say(f"Stopped. {kept}; the same command with --resume goes on from the last epoch.")


COMMANDS = {command.__name__: command for command in (train, evaluate, ablate, accuracy)}


if __name__ == "__main__":
    sys.exit(main())
