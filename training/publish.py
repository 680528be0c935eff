"""From a fitted network to a registered bundle: describe it, write it, hand it to the store."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import bentoml
import numpy as np

from models.bundle import Bundle, UserHistories, open_bundle, write_bundle
from models.manifest import Calibration, DataRecord, Description, ProtocolRecord
from models.networks.graphs import FoldInNetwork
from training.code_version import code_version
from training.config import Configuration
from training.evaluation.predictor import Interval
from training.export import export_graphs
from training.neighbours import item_columns
from training.ratings import Ratings
from training.split import Split

MODEL_NAME = "usher"
PARITY_USERS = 256


@dataclass(frozen=True)
class Figures:
    """What the bundle tells of its quality: held-out metrics, and those of the baselines."""

    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]


def publish(
    network: FoldInNetwork,
    ratings: Ratings,
    split: Split,
    configuration: Configuration,
    figures: Figures,
    interval: Interval,
    version: str,
    target: Path,
) -> Bundle:
    """Write a bundle at `target`: whole histories, neighbours, exported graphs, figures of `split`.

    The weights were fitted on part of the ratings; the histories hold all of them, so nobody is
    recommended what is already rated. Raises ExportError if the graphs disagree with torch.
    """
    histories = ratings.histories()
    fitted = split.refit if configuration.refit else split.fit
    rng = np.random.default_rng(0)
    examples = histories.take(
        rng.choice(len(histories), min(PARITY_USERS, len(histories)), replace=False)
    )

    def describe(folder: Path) -> Description:
        graphs = export_graphs(network, len(ratings.catalog), ratings.scale, examples, folder)
        return Description(
            version=version,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            code_version=code_version(),
            as_of=None if ratings.times is None else int(ratings.times.max()),
            rating_scale=ratings.scale,
            liked_from=configuration.evaluation.liked_from,
            data=data_record(ratings),
            protocol=ProtocolRecord(
                name=split.protocol,
                seed=split.seed,
                split_digest=split.digest,
                fit_rows=len(fitted),
                test_rows=sum(len(fold.hidden) for fold in split.tests),
            ),
            configuration=configuration.model_dump(mode="json"),
            metrics=figures.metrics,
            baselines=figures.baselines,
            calibration=Calibration(
                coverage=interval.coverage,
                multiplier=interval.multiplier,
                measured=figures.metrics.get("coverage"),
            ),
            parity=graphs.parity,
            parity_int8=graphs.parity_int8,
            top_k=graphs.top_k,
            recommend=graphs.recommend,
            recommend_int8=graphs.recommend_int8,
            rate=graphs.rate,
        )

    counts = np.bincount(ratings.items[fitted], minlength=len(ratings.catalog)).astype(np.int32)
    items = item_columns(network.item_vectors(), counts)
    users = UserHistories(ratings.user_ids, histories)
    return write_bundle(target, describe, ratings.catalog, items, users)


def register(bundle: Bundle) -> Bundle:
    """Copy a bundle into BentoML's model store as `usher:<version>` and verify it there."""
    manifest = bundle.manifest
    labels = {"digest": bundle.digest[:12], "data": bentoml_label(manifest.data.source)}
    with bentoml.models.create(f"{MODEL_NAME}:{manifest.version}", labels=labels) as model:
        shutil.copytree(bundle.path, model.path, dirs_exist_ok=True)
    return open_bundle(Path(bentoml.models.get(f"{MODEL_NAME}:{manifest.version}").path))


def bentoml_label(text: str) -> str:
    """A text as BentoML's labels allow it: 63 characters of letters, digits, `.`, `_` and `-`."""
    kept = "".join(c if c.isalnum() or c in "._-" else "-" for c in text)
    return kept[:63].strip("._-")


def new_version(configuration: Configuration, now: datetime) -> str:
    """A version that sorts by time and says which configuration it came from."""
    return f"{now:%Y%m%d-%H%M%S}-{configuration.name.lower()}"


def data_record(ratings: Ratings) -> DataRecord:
    """What the manifest says of the ratings."""
    return DataRecord(
        source=ratings.origin.source,
        licence=ratings.origin.licence,
        digest=ratings.digest,
        users=len(ratings.user_ids),
        items=len(ratings.catalog),
        ratings=len(ratings),
    )
