"""How a text file is laid out: its separator, and which of its columns means what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.errors import DataError


@dataclass(frozen=True)
class Layout:
    """The columns to read by name.

    names: the columns in order, where there is no header. doubled: the separator is written twice,
    as in `::`; polars takes one byte only, so every second column is then an empty one.
    """

    user: str = "user"
    item: str = "item"
    rating: str = "rating"
    time: str | None = None
    separator: str = ","
    quote: str | None = '"'
    names: tuple[str, ...] | None = None
    doubled: bool = False

    @property
    def header(self) -> bool:
        """Whether line 1 names the columns."""
        return self.names is None

    @property
    def roles(self) -> dict[str, str]:
        """What each role's column is called."""
        named = {"user": self.user, "item": self.item, "rating": self.rating, "time": self.time}
        return {role: name for role, name in named.items() if name is not None}

    def positions(self, path: Path, names: Sequence[str]) -> list[str | None]:
        """The role of each of the file's columns, None for those nobody reads.

        Raises DataError if a role's column is absent or there twice, or is another role's too.
        """
        if len(set(self.roles.values())) < len(self.roles):
            raise DataError(
                f"{path}: one column cannot be two of {', '.join(self.roles)}; name different "
                "columns."
            )
        for role, name in self.roles.items():
            if names.count(name) != 1:
                raise DataError(_not_one_column(path, role, name, names))
        role_of = {name: role for role, name in self.roles.items()}
        return [role_of.get(name) for name in names]


def _not_one_column(path: Path, role: str, name: str, names: Sequence[str]) -> str:
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        return f"{path}, line 1: {names[0]!r} is one column; separate columns by commas."
    number = "two columns" if name in names else "no column"
    listed = ", ".join(repr(each) for each in names[:12])
    return (
        f"{path}, line 1: there is {number} {name!r} among {listed}; rename the column that holds "
        f"the {role}, or say what it is called with --{role}-column."
    )
