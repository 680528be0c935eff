"""The MovieLens releases: what each is called, where its archive lies and how its files read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.manifest import RatingScale
from training.sources.settings import MOVIELENS_URL

WHOLE_STARS = RatingScale(minimum=1.0, maximum=5.0, step=1.0)
HALF_STARS = RatingScale(minimum=0.5, maximum=5.0, step=0.5)
RESEARCH = (
    "MovieLens research licence of the University of Minnesota: acknowledge the use in "
    "publications, imply no endorsement, {terms}. In full: {address}"
)


@dataclass(frozen=True)
class Release:
    """One release. `md5` is its archive's; None: published only beside the archive, and changing.

    `folder` is the top folder inside the archive.
    """

    name: str
    folder: str
    format: Literal["tab", "colons", "csv"]
    encoding: Literal["utf-8", "iso-8859-1"]
    scale: RatingScale
    md5: str | None
    terms: str

    @property
    def licence(self) -> str:
        """What the licence asks, and where it is read in full."""
        suffix = "txt" if self.name in ("ml-100k", "ml-1m") else "html"
        address = f"{MOVIELENS_URL}/{self.name}-README.{suffix}"
        return RESEARCH.format(terms=self.terms, address=address)

    @property
    def ratings_file(self) -> str:
        """Name of the file that holds the ratings."""
        return {"tab": "u.data", "colons": "ratings.dat", "csv": "ratings.csv"}[self.format]

    @property
    def items_file(self) -> str:
        """Name of the file that holds titles and genres."""
        return {"tab": "u.item", "colons": "movies.dat", "csv": "movies.csv"}[self.format]

    @property
    def users_file(self) -> str | None:
        """Name of the file that says who the users are; None where the release has none."""
        return {"ml-100k": "u.user", "ml-1m": "users.dat"}.get(self.name)

    @property
    def wanted_files(self) -> tuple[str, ...]:
        """What to take from the archive; tag genomes of 400 MB are left in it."""
        folds = tuple(f"u{n}.{part}" for n in "12345" for part in ("base", "test"))
        notices = ("README", "README.txt", "README.html")
        users = () if self.users_file is None else (self.users_file,)
        return (self.ratings_file, self.items_file, *users, *notices, *folds)


def _csv(name: str, md5: str | None, terms: str) -> Release:
    return Release(name, name, "csv", "utf-8", HALF_STARS, md5, terms)


SAME_TERMS = "redistribution on the same terms, no commercial use without permission"
NO_REDISTRIBUTION = "no redistribution, no commercial use without permission"

RELEASES = {
    release.name: release
    for release in (
        _csv("ml-latest-small", None, SAME_TERMS),
        Release(
            "ml-100k", "ml-100k", "tab", "iso-8859-1", WHOLE_STARS, None, NO_REDISTRIBUTION
        ),
        Release(
            "ml-1m", "ml-1m", "colons", "iso-8859-1", WHOLE_STARS,
            "c4d9eecfca2ab87c1945afe126590906", NO_REDISTRIBUTION,
        ),
        Release(
            "ml-10m", "ml-10M100K", "colons", "utf-8", HALF_STARS,
            "ce571fd55effeba0271552578f2648bd", NO_REDISTRIBUTION,
        ),
        _csv("ml-20m", "cd245b17a1ae2cc31bb14903e1204af3", SAME_TERMS),
        _csv("ml-25m", "6b51fb2759a8657d3bfcbfc42b592ada", SAME_TERMS),
        _csv("ml-32m", "d472be332d4daa821edc399621853b57", SAME_TERMS),
    )
}  # fmt: skip
