"""Milliseconds to search the titles of a catalogue as large as MovieLens 32M's (87,585 items).

    python -m tests.benchmarks.title_search

Titles are synthetic, as those of `DATA=synthetic`; the single letters are the worst that can be
asked, for nearly every title holds them.
"""

from __future__ import annotations

import platform
import time
from statistics import median

from rich import print

from models.folded_titles import FoldedTitles
from service.title_search import TitleSearch
from training.sources.synthetic_words import title

ITEMS = 87_585
QUERIES = ("{first}", "{word}", "the", "e", "a e i o", "no such title")
RUNS = 15


def main() -> None:
    """Print one line for folding the catalogue, and one a query."""
    titles = [title(number) for number in range(ITEMS)]
    start = time.perf_counter()
    folded = FoldedTitles.of(titles)
    print(f"{ITEMS:,} titles folded in {time.perf_counter() - start:.2f} s, {platform.machine()}")
    search = TitleSearch(folded, ITEMS)
    names = {"first": titles[0].lower(), "word": titles[1].split()[-1].lower()}
    for query in (query.format(**names) for query in QUERIES):
        seconds = []
        for _ in range(RUNS):
            start = time.perf_counter()
            items, _ = search.find(query)
            seconds.append(time.perf_counter() - start)
        print(f"{query!r:30} {len(items):>6} items {1000 * median(seconds):6.2f} ms")


if __name__ == "__main__":
    main()
