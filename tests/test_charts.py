"""Drawings: values lie where their axis says, and ticks name them."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from training.report.charts.axis import Axis, categories, linear, logarithmic
from training.report.charts.bars import Bar, bar_chart
from training.report.charts.elements import element
from training.report.charts.estimates import Row, estimate_chart
from training.report.charts.lines import MOST_DOTS, Names, Rule, Series, line_chart
from training.report.sections.fifths import short

VALUES = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=20)
POSITIVE = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20)


def holds(axis: Axis, values: list[float]) -> None:
    low, high = sorted((axis.start, axis.end))
    assert all(low - 1e-6 <= axis.at(value) <= high + 1e-6 for value in values)
    assert all(low - 1e-6 <= axis.at(tick.value) <= high + 1e-6 for tick in axis.ticks)
    labels = [tick.label for tick in axis.ticks]
    assert len(set(labels)) == len(labels)
    assert len(labels) <= 12


@given(VALUES)
def test_a_linear_axis_holds_its_values_and_tells_ticks_apart(values: list[float]) -> None:
    span = max(values) - min(values)
    assume(not span or span > 1e-4 * max(abs(value) for value in values))
    axis = linear(values, 240.0, 16.0)
    holds(axis, values)
    for tick in axis.ticks:
        if "e" not in tick.label:
            assert float(tick.label.replace(",", "")) == pytest.approx(tick.value, abs=1e-5)


@given(POSITIVE)
def test_a_logarithmic_axis_keeps_ratios(values: list[float]) -> None:
    axis = logarithmic(values, 240.0, 16.0)
    assert all(16 - 1e-6 <= axis.at(value) <= 240 + 1e-6 for value in values)
    low, high = min(values), max(values)
    middle = math.sqrt(low * high)
    assert axis.at(middle) == pytest.approx((axis.at(low) + axis.at(high)) / 2, abs=1e-6)


def test_places_have_equal_room() -> None:
    axis = categories(["a", "b", "c"], 0.0, 90.0)
    assert [axis.at(tick.value) for tick in axis.ticks] == pytest.approx([15, 45, 75])


def test_what_is_not_markup_is_escaped() -> None:
    assert element("text", "<b>&", class_='"x"') == (
        '<text class="&#34;x&#34;">&lt;b&gt;&amp;</text>'
    )


def test_a_line_skips_what_is_not_there_and_what_a_logarithm_cannot_show() -> None:
    series = Series("s", [1, 2, 3, 4], [10.0, None, 0.0, 1000.0], 0)
    drawn = ElementTree.fromstring(line_chart([series], Names("x", "y"), "alt", ratios=True))
    (line,) = drawn.iter("polyline")
    assert len((line.get("points") or "").split()) == 2


def test_a_long_line_has_no_points_to_rest_on() -> None:
    for count, dots in ((MOST_DOTS, MOST_DOTS), (MOST_DOTS + 1, 0)):
        series = Series("s", range(1, count + 1), [float(n) for n in range(count)], 0)
        drawn = ElementTree.fromstring(line_chart([series], Names("x", "y"), "alt"))
        assert len(list(drawn.iter("circle"))) == dots


def test_an_empty_or_single_line_is_drawn() -> None:
    for ys in ([], [0.0], [3.0]):
        series = Series("s", range(len(ys)), ys, 0)
        rule = Rule(10.0, "warning", "warning")
        ElementTree.fromstring(line_chart([series], Names("x", "y"), "alt", [rule]))


def test_intervals_and_bars_are_as_long_as_they_are() -> None:
    rows = [Row("first", 2.0, 1.0, 3.0, 0), Row("second", 6.0, 4.0, 8.0, 1)]
    drawn = ElementTree.fromstring(estimate_chart(rows, "x", "alt"))
    lines = [line for line in drawn.iter("line") if "s" in (line.get("class") or "").split(" ")[-1]]
    lengths = [
        float(line.get("x2", 0)) - float(line.get("x1", 0))
        for line in lines
        if (line.get("class") or "").startswith("line")
    ]
    assert lengths[1] == pytest.approx(2 * lengths[0], abs=0.05)
    bars = [Bar("a", 1.0, "1 s"), Bar("b", 4.0, "4 s"), Bar("c", 0.0, "0 s")]
    widths = [float(rect.get("width", 0)) for rect in ElementTree.fromstring(
        bar_chart(bars, "alt")).iter("rect")]  # fmt: skip
    assert widths[1] == pytest.approx(4 * widths[0], abs=0.05)


@pytest.mark.parametrize(
    ("count", "told"), [(7, "7"), (999, "999"), (2447, "2.4k"), (54321, "54k"), (1_250_000, "1.2M")]
)
def test_counts_are_short(count: int, told: str) -> None:
    assert short(count) == told
