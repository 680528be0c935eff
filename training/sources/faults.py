"""Which line of a text file is wrong, and why: read only after the fast way has failed.

This is a plain loop over lines in constant memory. It repeats in Python what polars refused, so
that a person is told the line and the remedy instead of an offset in a chunk.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from training.sources.layout import Layout

NUMBER = re.compile(r" *[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
WHOLE_NUMBER = re.compile(r" *[+-]?[0-9]{1,18}")


def explain(path: Path, layout: Layout, roles: Sequence[str | None], error: Exception) -> str:
    """One sentence with file, line and remedy for a file that polars could not parse."""
    if line := first_undecodable_line(path):
        return (
            f"{path}, line {line}: the text is not UTF-8; save the file with UTF-8 encoding "
            "(for example with iconv)."
        )
    try:
        for line, fields in records(path, layout):
            if fault := _fault(fields, layout, roles):
                return f"{path}, line {line}: {fault}."
    except csv.Error as broken:
        return f"{path} cannot be split into columns ({broken}); check its quotes."
    detail = str(error).partition("\n")[0]
    return f"{path} cannot be read as text with columns ({detail}); check its quotes and columns."


def line_of_row(path: Path, layout: Layout, row: int) -> int:
    """The 1-based line on which the 0-based row begins, counting the header.

    Quoted fields may span lines, so lines are counted by a reader that knows quotes.
    """
    return next(line for number, (line, _) in enumerate(records(path, layout)) if number == row)


def records(path: Path, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """Every row after the header: the 1-based line it begins on, and its fields."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        reader = csv.reader(
            stream,
            delimiter=layout.separator,
            quoting=csv.QUOTE_NONE if layout.quote is None else csv.QUOTE_MINIMAL,
            quotechar=layout.quote or '"',
        )
        if layout.header:
            next(reader, None)
        begins = reader.line_num + 1
        for fields in reader:
            yield begins, fields
            begins = reader.line_num + 1


def first_undecodable_line(path: Path) -> int | None:
    """The 1-based number of the first line that is not UTF-8, None if all are."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return None


def _fault(fields: list[str], layout: Layout, roles: Sequence[str | None]) -> str | None:
    if len(fields) > len(roles):
        separator, step = ("::", 2) if layout.doubled else (layout.separator, 1)
        found, belong = len(fields[::step]), len(roles[::step])
        return (
            f"there are {found} fields separated by {separator!r} where {belong} belong; correct "
            "or remove the line"
        )
    for role, text in zip(roles, fields, strict=False):
        if role == "rating" and text and not NUMBER.fullmatch(text):
            return f"the rating {text!r} is not a number; correct or remove the line"
        if role == "time" and text and not WHOLE_NUMBER.fullmatch(text):
            return (
                f"the time {text!r} is not a whole number of Unix seconds; convert the column, "
                "or leave it out"
            )
    return None
