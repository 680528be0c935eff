"""What passes between our process and a peer's: one task in, one reply out, as .npz files.

A peer runs in an environment of its own, so this module imports nothing but numpy. A task holds
the ratings to fit on and questions: users by their visible histories, and (user, item) pairs to
rate. The ratings behind those pairs are not in it: no peer can be fitted on what it is scored on.

Shapes: N rows to fit on, B users of a question, T asked pairs, I items.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.histories import Histories

TASK, REPLY = "task.npz", "reply.npz"


@dataclass(frozen=True)
class Question:
    """Users int64 [B], what is visible of each, and the pairs to rate.

    pair_rows: int64 [T], which of the B users. pair_items: int64 [T].
    """

    users: NDArray[np.int64]
    visible: Histories
    pair_rows: NDArray[np.int64]
    pair_items: NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """Fit on the rows users, items (int64 [N]) and values (float32 [N]), then answer."""

    user_count: int
    item_count: int
    lowest: float
    highest: float
    liked_from: float
    seed: int
    settings: dict[str, Any]
    users: NDArray[np.int64]
    items: NDArray[np.int64]
    values: NDArray[np.float32]
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Answer:
    """Ratings float32 [T] of the asked pairs, scores float32 [B, I]; None where it has none."""

    ratings: NDArray[np.float32] | None = None
    scores: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Reply:
    """An answer to every question, and how long fitting took."""

    answers: tuple[Answer, ...]
    fit_seconds: float


@dataclass
class Stopwatch:
    """Seconds spent fitting, apart from the seconds spent answering."""

    seconds: float = field(default=0.0)

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """Count the time spent inside."""
        start = time.monotonic()
        yield
        self.seconds += time.monotonic() - start


Carry = Callable[[Task, Stopwatch], list[Answer]]


def carry_out(peer: Carry) -> None:
    """The main function of a peer's script: its only argument is the folder of the exchange."""
    folder, watch = Path(sys.argv[1]), Stopwatch()
    answers = peer(read_task(folder), watch)
    write_reply(folder, Reply(tuple(answers), watch.seconds))


def write_task(folder: Path, task: Task) -> None:
    """Write task.npz."""
    facts = {
        name: getattr(task, name)
        for name in ("user_count", "item_count", "lowest", "highest", "liked_from", "seed")
    } | {"settings": task.settings, "questions": len(task.questions)}
    arrays: dict[str, NDArray[Any]] = {
        "users": task.users, "items": task.items, "values": task.values
    }  # fmt: skip
    for number, question in enumerate(task.questions):
        arrays |= {
            f"{number}.users": question.users,
            f"{number}.visible.items": question.visible.items,
            f"{number}.visible.ratings": question.visible.ratings,
            f"{number}.visible.offsets": question.visible.offsets,
            f"{number}.pair_rows": question.pair_rows,
            f"{number}.pair_items": question.pair_items,
        }
    _write(folder / TASK, arrays | {"facts": np.array(json.dumps(facts))})


def read_task(folder: Path) -> Task:
    """Read what `write_task` wrote."""
    with np.load(folder / TASK, allow_pickle=False) as arrays:
        facts = json.loads(str(arrays["facts"]))
        questions = tuple(
            Question(
                arrays[f"{number}.users"],
                Histories(
                    arrays[f"{number}.visible.items"],
                    arrays[f"{number}.visible.ratings"],
                    arrays[f"{number}.visible.offsets"],
                ),
                arrays[f"{number}.pair_rows"],
                arrays[f"{number}.pair_items"],
            )
            for number in range(facts.pop("questions"))
        )
        return Task(
            **facts, users=arrays["users"], items=arrays["items"], values=arrays["values"],
            questions=questions,
        )  # fmt: skip


def write_reply(folder: Path, reply: Reply) -> None:
    """Write reply.npz, whole or not at all."""
    arrays = {"fit_seconds": np.array(reply.fit_seconds), "answers": np.array(len(reply.answers))}
    for number, answer in enumerate(reply.answers):
        if answer.ratings is not None:
            arrays[f"{number}.ratings"] = answer.ratings.astype(np.float32)
        if answer.scores is not None:
            arrays[f"{number}.scores"] = answer.scores.astype(np.float32)
    _write(folder / REPLY, arrays)


def read_reply(folder: Path) -> Reply:
    """Read what `write_reply` wrote."""
    with np.load(folder / REPLY, allow_pickle=False) as arrays:
        answers = tuple(
            Answer(arrays.get(f"{number}.ratings"), arrays.get(f"{number}.scores"))
            for number in range(int(arrays["answers"]))
        )
        return Reply(answers, float(arrays["fit_seconds"]))


def _write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    half = path.with_suffix(".half")
    with half.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    os.replace(half, path)
