"""Commands that look back at runs: the record, one report, two side by side. Options and actions.

None of them fits anything, so none loads torch.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.commands.help import PROGRAM, Examples, add_command
from training.commands.terminal import Terminal, voice
from training.report import print_report, read_report
from training.report.browser import open_page
from training.report.compared import compare_reports
from training.report.compared_page import compared_page
from training.report.compared_table import print_compared
from training.report.found import newest_report, report_path
from training.report.page import rendered, write_page

COMPARISONS = "comparisons"
EXPERIMENTS: Examples = (
    ("the best by ranking on one data set",
     f"{PROGRAM} experiments --data ml-1m --protocol users --by ndcg"),
    ("the last five runs for a script", f"{PROGRAM} experiments --last 5 --json"),
)  # fmt: skip
REPORT: Examples = (
    ("the newest run", f"{PROGRAM} report"),
    ("the run in a folder, its figures in the terminal too, no browser",
     f"{PROGRAM} report .usher/runs/small-ml-100k-random-1 --print --no-open"),
    ("a run of the experiment record", f"{PROGRAM} report 3f2a9c"),
)  # fmt: skip
REPORTED = '  {"report": path of report.json, "page": path of report.html, "opened": true or false}'
COMPARE: Examples = (
    ("two folders", f"{PROGRAM} compare .usher/runs/a .usher/runs/b"),
    ("two runs of the experiment record, for a script", f"{PROGRAM} compare 3f2a9c 81bd04 --json"),
)  # fmt: skip
COMPARED = """\
  {"a", "b": {report, name, data, protocol, split_digest, ...}, "comparable": true or false,
   "why_not": a sentence or null, "figures": [{fold, figure, a, b, difference, better, overlap}],
   "settings": [{setting, a, b}], "page": path of the HTML file, "opened": true or false}"""
RUN = "the folder of a run, its name in .usher/runs, or an id that experiments prints"


def add_experiments(commands: Any) -> None:
    """The options of `experiments`."""
    text = "print the recorded runs from best to worst"
    sub = add_command(commands, "experiments", text, EXPERIMENTS, "  [{run_id, name, ...}, ...]")
    sub.add_argument("--data", metavar="NAME", help="only runs on this data (default: all)")
    sub.add_argument("--protocol", metavar="NAME", help="only runs by this protocol (default: all)")
    sub.add_argument("--by", choices=("rmse", "ndcg"), default="rmse", help="the order")
    sub.add_argument("--last", type=int, metavar="N", help="only the N begun last (default: all)")
    sub.add_argument("--json", action="store_true", help="print all that is known, as JSON")


def add_report(commands: Any) -> None:
    """The options of `report`."""
    text = "make the page of a run, print where it is and open it"
    sub = add_command(commands, "report", text, REPORT, REPORTED)
    sub.add_argument("run", nargs="?", help=f"{RUN} (default: the newest)")
    sub.add_argument("--print", action="store_true", help="print the tables of the run as well")
    _add_ways(sub)


def add_compare(commands: Any) -> None:
    """The options of `compare`."""
    text = "set two runs side by side, in the terminal and on a page"
    sub = add_command(commands, "compare", text, COMPARE, COMPARED)
    sub.add_argument("a", help=RUN)
    sub.add_argument("b", help="the other one")
    sub.add_argument(
        "--to", type=Path, metavar="FILE",
        help=f"where the page goes (default: .usher/{COMPARISONS}/A-B.html)",
    )  # fmt: skip
    _add_ways(sub)


def experiments(options: argparse.Namespace, terminal: Terminal, state: Path) -> None:
    """Print the recorded runs from best to worst, and what differs between them."""
    from training.experiments.listing import listed_runs, ranked
    from training.experiments.table import differences_table, runs_table

    runs = listed_runs(state, data=options.data, protocol=options.protocol, last=options.last)
    places = ranked(runs, options.by)
    if options.json:
        ordered = [run.model_dump() for group in places.values() for run in group]
        print(json.dumps(ordered, indent=2))
        return
    if not places:
        terminal.told.print(
            "No such run is recorded yet: make train, make evaluate and make accuracy do."
        )
    for place, group in places.items():
        terminal.output.print(runs_table(place, group, options.by))
        if (differences := differences_table(group)) is not None:
            terminal.output.print(differences)


def report(options: argparse.Namespace, terminal: Terminal, state: Path) -> None:
    """Make the page of a run anew from its report.json, say where it is, and open it."""
    path = report_path(options.run, state) if options.run else newest_report(state)
    found = read_report(path)
    page = write_page(found, path.parent)
    opened = options.open and open_page(page)
    if options.json:
        print(json.dumps({"report": str(path), "page": str(page), "opened": opened}, indent=2))
        return
    if options.print:
        print_report(found, terminal.output)
    print(page)


def compare(options: argparse.Namespace, terminal: Terminal, state: Path) -> None:
    """Write the page of two runs, and print the same in short."""
    paths = report_path(options.a, state), report_path(options.b, state)
    a, b = (read_report(path) for path in paths)
    compared = compare_reports(a, b, paths)
    name = f"{compared.a.folder}-{compared.b.folder}.html"
    page = options.to or state / COMPARISONS / name
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(rendered(compared_page(a, b, compared)), encoding="utf-8")
    opened = options.open and open_page(page)
    if options.json:
        content = compared.model_dump(mode="json") | {"page": str(page), "opened": opened}
        print(json.dumps(content, indent=2))
        return
    print_compared(compared, terminal.output)
    voice(terminal.told)(f"Comparison: {page}")


LookBack = Callable[[argparse.Namespace, Terminal, Path], None]
COMMANDS: dict[str, LookBack] = {
    command.__name__: command for command in (experiments, report, compare)
}


def _add_ways(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--no-open", dest="open", action="store_false",
        help="leave the browser alone (default: it is opened where there is a display)",
    )  # fmt: skip
    sub.add_argument("--json", action="store_true", help="print where it is and more, as JSON")
