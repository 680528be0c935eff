"""The words synthetic titles and genres are made of."""

from __future__ import annotations

# fmt: off
GENRES = (
    "Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama",
    "Fantasy", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)
ADJECTIVES = (
    "Silent", "Crimson", "Last", "Broken", "Golden", "Hidden", "Midnight", "Distant", "Electric",
    "Paper", "Winter", "Burning", "Lost", "Velvet", "Iron", "Hollow", "Bright", "Second", "Secret",
    "Wandering",
)
NOUNS = (
    "River", "Garden", "Letter", "Harbor", "Empire", "Promise", "Shadow", "Station", "Orchard",
    "Horizon", "Mirror", "Voyage", "Summer", "Kingdom", "Stranger", "Theory", "Lighthouse",
    "Heist", "Melody", "Frontier",
)
# fmt: on
TITLES = len(ADJECTIVES) * len(NOUNS)


def title(number: int) -> str:
    """A title of its own for every number from 0 on: words first, then sequels."""
    sequel, pair = divmod(number, TITLES)
    adjective, noun = divmod(pair, len(NOUNS))
    words = f"The {ADJECTIVES[adjective]} {NOUNS[noun]}"
    return f"{words} {sequel + 1}" if sequel else words
