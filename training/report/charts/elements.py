"""Elements of SVG as text; whatever is not markup already is escaped."""

from __future__ import annotations

from markupsafe import Markup, escape

WIDTH = 440.0


def element(name: str, *content: str, **attributes: str | float) -> Markup:
    """One element; `class_` is class, and stroke_width is stroke-width."""
    named = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    told = Markup("").join(Markup(' {}="{}"').format(key, _told(v)) for key, v in named.items())
    inside = Markup("").join(escape(part) for part in content)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), told, inside)


def drawing(height: float, alt: str, *content: Markup) -> Markup:
    """A whole drawing, as wide as its place; `alt` is read out in its stead."""
    return element(
        "svg", *content, viewBox=f"0 0 {WIDTH:g} {height:g}", role="img", aria_label=alt,
        class_="chart",
    )  # fmt: skip


def text(x: float, y: float, words: str, anchor: str = "middle", kind: str = "tick") -> Markup:
    """Words at a place; anchor: start, middle or end."""
    return element("text", words, x=x, y=y, text_anchor=anchor, class_=kind)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def dot(x: float, y: float, kind: str, words: str = "", radius: float = 3) -> Markup:
    """A point; `words` are shown by a pointer that rests on it."""
    inside = (element("title", words),) if words else ()
    return element("circle", *inside, cx=x, cy=y, r=radius, class_=kind)


def rectangle(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    """A box."""
    return element("rect", x=x, y=y, width=width, height=height, class_=kind)


def _told(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
