"""The bundles that are served: catalogues of two sizes, made once and kept by what makes them.

Ratings are synthetic and the weights are drawn, not fitted: what a request costs depends on sizes
alone, and so does not need a training run of hours. Factors have a falling spectrum and biases are
popularity, as in fitted networks; how selection on int8 fares with weights that were fitted is for
`--model` to say.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.bundle import Bundle, BundleError, open_bundle
from models.networks.architecture import Architecture
from models.networks.hybrid_vae import HybridVAE
from training.code_digest import code_digest
from training.config import Configuration
from training.evaluation.predictor import Interval
from training.publish import Figures, publish
from training.ratings import Ratings
from training.sources import SourceSettings, load_ratings
from training.split import split_ratings

ARCHITECTURE = Architecture(n_factors=150, hidden_dims=(512,), latent_dim=128)
MODULES = ("training.publish", "training.sources.synthetic", "models.bundle", __name__)


@dataclass(frozen=True)
class Catalogue:
    """A size to serve."""

    name: str
    source: str


CATALOGUES = (
    Catalogue("9,742 items", "synthetic:users=610,items=9742,ratings=100000"),
    Catalogue("87,585 items", "synthetic:users=200000,items=87585,ratings=32000000"),
)
SMALL, LARGE = CATALOGUES


def bundle_of(
    catalogue: Catalogue, state: Path, say: Callable[[str], None], seed: int = 0
) -> Bundle:
    """Its bundle, made now if `state` does not hold one that this code made; weights by `seed`."""
    digest = code_digest(MODULES)[:12]
    folder = state / f"{catalogue.source.replace(':', '-').replace(',', '-')}-{seed}-{digest}"
    try:
        return open_bundle(folder)
    except BundleError:
        shutil.rmtree(folder, ignore_errors=True)
    say(f"Making a bundle of {catalogue.name} (once) ...")
    ratings = load_ratings(catalogue.source, SourceSettings())
    configuration = Configuration(name="drawn", network=ARCHITECTURE)
    split = split_ratings(ratings, "random", configuration.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of torch
        return publish(
            drawn_network(ratings, seed), ratings, split, configuration, Figures({"rmse": 1.0}, {}),
            Interval(0.8, 1.3), "drawn", folder,
        )  # fmt: skip


@torch.no_grad()
def drawn_network(ratings: Ratings, seed: int) -> HybridVAE:
    """A network whose tables look like fitted ones."""
    torch.manual_seed(seed)
    items = len(ratings.catalog)
    counts = np.bincount(ratings.items, minlength=items)
    mean = float(ratings.values.mean())
    network = HybridVAE(ARCHITECTURE, items, torch.from_numpy(ratings.scale.levels), mean).eval()
    spectrum_F = 1 / torch.sqrt(1 + torch.arange(ARCHITECTURE.n_factors))
    network.preference_factors.copy_(torch.randn(items, len(spectrum_F)) * spectrum_F)
    network.to_preference.weight.mul_(3.0)
    network.rating_factors.mul_(spectrum_F)
    network.start_items(
        torch.randn(items) * 0.4, torch.from_numpy(np.log(counts + 1.0)).float() - 5.0
    )
    return network
