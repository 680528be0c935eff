"""A page of a report as a browser's parser reads it, strictly."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

import html5lib

SVG = "{http://www.w3.org/2000/svg}"


def parsed(path: Path) -> Element:
    """The tree of a page; raises html5lib's ParseError for any mistake in it."""
    builder = html5lib.getTreeBuilder("etree")
    parser = html5lib.HTMLParser(builder, strict=True, namespaceHTMLElements=False)
    tree: Element = parser.parse(path.read_text(encoding="utf-8"))
    return tree


def words(element: Element | None) -> str:
    """All that it says, one space between words."""
    return " ".join("".join(element.itertext() if element is not None else ()).split())


def section(tree: Element, anchor: str) -> Element:
    """The section under a heading."""
    return next(s for s in tree.iter("section") if s.get("aria-labelledby") == anchor)


def table(tree: Element, caption: str) -> list[list[str]]:
    """The rows of the first table whose caption begins so, its headings first."""
    for found in tree.iter("table"):
        if words(found.find("caption")).startswith(caption):
            return [[words(cell) for cell in row] for row in found.iter("tr")]
    raise AssertionError(f"There is no table called {caption!r}.")


def charts(tree: Element) -> list[Element]:
    """Drawings, legends apart."""
    return [svg for svg in tree.iter(f"{SVG}svg") if svg.get("class") == "chart"]


def points(chart: Element, place: int = 0) -> list[tuple[float, float]]:
    """The corners of a drawing's lines, in its own units."""
    line = list(chart.iter(f"{SVG}polyline"))[place]
    corners = [corner.split(",") for corner in (line.get("points") or "").split()]
    return [(float(x), float(y)) for x, y in corners]
