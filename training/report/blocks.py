"""What a page is made of: sections of figures, tables, facts and sentences, told apart by `kind`.

They say what is shown; the template beside them says how.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup


@dataclass(frozen=True)
class Cell:
    """A cell of a table. tone: best, better, worse, differs, faint or "".

    beside: what is said in small letters below it.
    """

    text: str
    tone: str = ""
    beside: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under headings; the first cell of each row is its heading.

    words: columns that are read, not compared, and so start on the left. folded: shown on request.
    """

    kind: ClassVar[str] = "table"
    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    words: frozenset[int] = frozenset()
    folded: bool = False


@dataclass(frozen=True)
class Key:
    """What a colour of a drawing stands for."""

    label: str
    colour: int
    dashed: bool = False


@dataclass(frozen=True)
class Figure:
    """A drawing, what it shows in a sentence, and its numbers."""

    kind: ClassVar[str] = "figure"
    title: str
    drawing: Markup
    caption: str
    legend: Sequence[Key] = ()
    table: Table | None = None


@dataclass(frozen=True)
class Grid:
    """Figures or groups side by side where there is room."""

    kind: ClassVar[str] = "grid"
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Group:
    """Blocks under a heading of their own."""

    kind: ClassVar[str] = "group"
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Note:
    """A paragraph. tone: plain, warning or missing."""

    kind: ClassVar[str] = "note"
    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Facts:
    """Names and what they are; addresses in them become links."""

    kind: ClassVar[str] = "facts"
    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Tile:
    """A figure that is seen first, the ends of its interval, and what it is held against."""

    label: str
    value: str
    ends: str
    beside: str


@dataclass(frozen=True)
class Tiles:
    """The figures that are seen first."""

    kind: ClassVar[str] = "tiles"
    tiles: Sequence[Tile]


Block = Table | Figure | Grid | Group | Note | Facts | Tiles


@dataclass(frozen=True)
class Section:
    """A part of the page. anchor: its id."""

    anchor: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """All of it. lead: one sentence under the title."""

    title: str
    lead: str
    blocks: Sequence[Block]
    sections: Sequence[Section]
