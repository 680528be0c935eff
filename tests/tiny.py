"""A small, real bundle: a HybridVAE on synthetic ratings, exported by the real exporter.

Its weights are drawn, not fitted, but its answers depend on history, filters and exclusions like
any other's, and every number of it can be recomputed from the graphs.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from models.bundle import Bundle, write_bundle
from models.catalog import Catalog
from models.manifest import Description, RatingScale
from models.networks.architecture import Architecture
from training.config import Configuration
from training.evaluation.predictor import Interval
from training.fitting.initial import build_network
from training.publish import Figures, publish
from training.ratings import Ratings
from training.sources import SourceSettings, load_ratings
from training.split import split_ratings


def tiny_ratings(users: int = 60, items: int = 120, seed: int = 0) -> Ratings:
    """Synthetic ratings of about a third of the users x items pairs at most."""
    rows = users * items // 6
    name = f"synthetic:users={users},items={items},ratings={rows},seed={seed}"
    return load_ratings(name, SourceSettings(download=False))


def tiny_bundle(folder: Path, users: int = 60, items: int = 120, seed: int = 0) -> Bundle:
    """Write a bundle at `folder` and open it."""
    ratings = tiny_ratings(users, items, seed)
    configuration = Configuration(
        name="tiny", seed=seed, network=Architecture(n_factors=8, hidden_dims=(16,), latent_dim=4)
    )
    split = split_ratings(ratings, "random", 42)
    network = build_network(ratings, split.fit, configuration).eval()
    with torch.no_grad():
        for parameter in (network.item_embedding, network.preference_factors):
            parameter.mul_(20)
        network.rating_bias.normal_(0, 0.3)
    figures = Figures(metrics={"rmse": 1.0}, baselines={"mean": {"rmse": 1.1}})
    return publish(
        network, ratings, split, configuration, figures, Interval(0.8, 1.3), "tiny", folder
    )


def altered(bundle: Bundle, folder: Path, catalog: Catalog, scale: RatingScale) -> Bundle:
    """The same graphs and histories under another catalogue and scale, not exported again."""
    manifest = bundle.manifest

    def describe(target: Path) -> Description:
        for name in manifest.files:
            if "/" not in name:
                shutil.copy(bundle.path / name, target)
        told = {name: getattr(manifest, name) for name in Description.model_fields}
        return Description(**told | {"rating_scale": scale})

    return write_bundle(folder, describe, catalog, bundle.items, bundle.users)
