"""A fit by several processes: `trainer.choose` and `trainer.refit`, each user in one of them.

This process deals the users out, waits, and takes up the network that all came to. It fits nothing
itself and stays the only one that knows teachers, validation and test rows as a whole.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.cluster import Cluster
from training.config import Configuration
from training.fitting.crew import carry_out
from training.fitting.finished import keep_finished, take_up
from training.fitting.initial import HeadStart, blank_network
from training.fitting.orders import CHOSEN, FITTED, Orders
from training.fitting.share_files import write_shares
from training.fitting.shares import NOTHING, Share, dealt, share_of
from training.fitting.sharpness import choose_sharpness
from training.fitting.trainer import Fitted
from training.ratings import Ratings
from training.split import Fold, Rows
from training.teachers.teacher import Tutor

NO_FOLD = Fold("none", NOTHING, NOTHING)


@dataclass(frozen=True)
class Processes:
    """Fits on these ratings by this configuration; checkpoints and logs go to `folder`."""

    cluster: Cluster
    ratings: Ratings
    configuration: Configuration
    folder: Path
    say: Callable[[str], None]
    progress: bool = True
    save_every_s: float = 30.0

    def choose(
        self, rows: Rows, fold: Fold, tutor: Tutor | None = None, *, resume: bool = False
    ) -> Fitted:
        """`trainer.choose`, by all. Raises TrainingError too if a process was lost."""
        fitted = self._fitted("choose", self._whole(rows, fold, tutor), resume=resume)
        if not fitted.interrupted:
            liked_from = self.configuration.evaluation.liked_from
            choose_sharpness(fitted.network, self.ratings, fold, liked_from=liked_from)
        return fitted

    def refit(self, rows: Rows, chosen: Fitted, tutor: Tutor | None = None) -> Fitted:
        """`trainer.refit`, by all. Raises TrainingError too if a process was lost."""
        return self._fitted("refit", self._whole(rows, NO_FOLD, tutor), chosen)

    def _whole(self, rows: Rows, fold: Fold, tutor: Tutor | None) -> Share:
        teacher = tutor.ratings.teacher if tutor and tutor.ratings else None
        ahead = HeadStart.of(self.ratings, rows, self.configuration, teacher)
        return Share(self.ratings, rows, fold, tutor, ahead)

    def _fitted(
        self,
        step: Literal["choose", "refit"],
        whole: Share,
        chosen: Fitted | None = None,
        *,
        resume: bool = False,
    ) -> Fitted:
        cluster, seed = self.cluster, self.configuration.seed
        owner_U = dealt(self.ratings, whole.rows, whole.fold, cluster.size, seed)
        first = cluster.machine * cluster.processes
        own = range(first, first + cluster.processes)
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="processes-", dir=self.folder) as temporary:
            place = Path(temporary).resolve()
            write_shares([share_of(whole, owner_U, rank) for rank in own], place)
            if chosen is not None:
                keep_finished(chosen, place / CHOSEN)
            orders = self._orders(step, whole, resume=resume)
            orders.write(place)
            carry_out(orders, place, self.say)
            return take_up(place / FITTED, blank_network(self.ratings, self.configuration))

    def _orders(self, step: Literal["choose", "refit"], whole: Share, *, resume: bool) -> Orders:
        cluster = self.cluster
        sha256 = hashlib.sha256(f"{cluster.processes} {whole.ratings.digest}".encode())
        sha256.update(self.configuration.model_dump_json().encode())
        sha256.update(whole.rows.tobytes())
        return Orders(
            step=step, configuration=self.configuration, folder=self.folder.resolve(),
            resume=resume, progress=self.progress, save_every_s=self.save_every_s,
            processes=cluster.processes, machines=cluster.machines, machine=cluster.machine,
            address=cluster.address, name=f"{self.configuration.name}-{step}",
            digest=sha256.hexdigest(),
        )  # fmt: skip
