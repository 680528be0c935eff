"""Figures that the pages state are those of the records in results/."""

from __future__ import annotations

import json
import re
from statistics import median

import pytest

from tests.service_fixtures import ROOT
from training.accuracy.record import Content, Row

ACCURACY = Content.model_validate_json((ROOT / "results" / "accuracy.json").read_bytes())
README = (ROOT / "README.md").read_text()
STATED = re.compile(
    r"^\| (?P<data>ml-[\w-]+), `(?P<protocol>[\w-]+)`, (?:(?P<visible>\d+)% visible, )?"
    r"\**(?P<model>\w+)\** \((?P<seeds>\d)[^)]*\) \| \**(?P<rmse>[\d.]+)\** \((?P<mse>[\d.]+)\) "
    r"\| (?P<bias>[\d.]+) \| \**(?P<ndcg>[\d.]+)\** \| (?P<popularity>[\d.]+) "
    r"\| (?P<ease>[\d.]+) \|$",
    re.MULTILINE,
)
MEASURED = [row for row in STATED.finditer(README) if row["protocol"] != "random"]


def rows(stated: re.Match[str], model: str) -> list[Row]:
    """The record's rows of a model on the rows that a line of the table is about."""
    visible = int(stated["visible"]) if stated["visible"] else None
    return [
        row for row in ACCURACY.rows
        if (row.data, row.protocol, row.fold_in) == (stated["data"], stated["protocol"], visible)
        and row.model == model
    ]  # fmt: skip


def middle(values: list[float | None], digits: int) -> str:
    return f"{median([value for value in values if value is not None]):.{digits}f}"


def test_every_line_of_the_table_is_read() -> None:
    lines = re.findall(r"^\| ml-.+$", README, flags=re.MULTILINE)
    assert len(lines) == len(list(STATED.finditer(README)))
    assert len(MEASURED) > 5


@pytest.mark.parametrize("stated", MEASURED, ids=lambda row: row[0][2:45])
def test_the_readme_states_what_was_measured(stated: re.Match[str]) -> None:
    model = rows(stated, stated["model"])
    assert len(model) == int(stated["seeds"])
    assert stated["rmse"] == middle([row.rmse for row in model], 4)
    assert stated["mse"] == middle([row.mse for row in model], 4)
    assert stated["ndcg"] == middle([row.ndcg_100 for row in model], 3)
    assert stated["bias"] == middle([row.rmse for row in rows(stated, "bias")], 4)
    for name in ("popularity", "ease"):
        assert stated[name] == middle([row.ndcg_100 for row in rows(stated, name)], 3)


def test_the_readme_states_what_the_benchmark_found() -> None:
    found = json.loads((ROOT / "results" / "bench.json").read_text())
    lines = {
        ("hit", 16): ("usher", "fastapi", "starlette-get"),
        ("miss", 64): ("usher", "fastapi", "litserve", "bentoml-default"),
    }
    for (scenario, connections), systems in lines.items():
        what = "cached" if scenario == "hit" else "computed"
        (line,) = re.findall(rf"^\| {what} answers a second.*$", README, flags=re.MULTILINE)
        told = [int(n.replace(",", "")) for n in re.findall(r"(?<=[ *])[\d,]+(?=[ *])", line)]
        measured = {
            row["system"]: round(row["rps"]) for row in found["rows"]
            if (row["scenario"], row["connections"]) == (scenario, connections)
            and row["catalogue"] == "87,585 items" and row["workers"] == 1
        }  # fmt: skip
        assert told[1:] == [measured[system] for system in systems]  # the first is the connections
