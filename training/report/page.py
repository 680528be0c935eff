"""A report as one HTML file that needs nothing else: no script, no font, no address is asked.

`page_of` is a function of the report alone, so a page can be made again for any run.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from training.report.blocks import Page
from training.report.record import PAGE, RunReport
from training.report.sections.errors import errors_section
from training.report.sections.examples import examples_section
from training.report.sections.intervals import intervals_section
from training.report.sections.learning import learning_section
from training.report.sections.members import members_section
from training.report.sections.origin import configuration_section, origin_section, time_section
from training.report.sections.results import results_section
from training.report.sections.stars import stars_section
from training.report.sections.summary import summary
from training.report.shown import Shown


def write_page(report: RunReport, folder: Path) -> Path:
    """Write report.html into `folder` and return its path."""
    path = folder / PAGE
    path.write_text(rendered(page_of(report)), encoding="utf-8")
    return path


def page_of(report: RunReport) -> Page:
    """What the page of a run says."""
    runs = [Shown(report)]
    members = [members_section(report.ensemble)] if report.ensemble else []
    return Page(
        title=f"{report.name} on {report.data.source}",
        lead=f"Training report of Usher: protocol {report.protocol}, training seed {report.seed}, "
        f"code {report.code_version}.",
        blocks=summary(report),
        sections=[
            results_section(report),
            learning_section(runs),
            *members,
            stars_section(runs),
            errors_section(runs),
            intervals_section(runs),
            examples_section(report),
            time_section(runs),
            origin_section(report),
            configuration_section(report),
        ],
    )


def rendered(page: Page) -> str:
    """A page as HTML."""
    environment = Environment(
        loader=PackageLoader("training.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html.j2").render(page=page)
