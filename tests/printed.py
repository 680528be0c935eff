"""What a person sees of a table: Rich's text at a given width."""

from __future__ import annotations

from io import StringIO

from rich.console import Console, RenderableType


def printed(*parts: RenderableType, width: int) -> str:
    """The text of the given renderables, one after the other."""
    text = StringIO()
    console = Console(file=text, width=width)
    for part in parts:
        console.print(part)
    return text.getvalue()
