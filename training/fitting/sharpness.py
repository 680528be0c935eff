"""How much the shallow path of a network weighs beside the deep one: chosen on validation rows.

The likelihood cannot choose it: the sharpness at which EASE's scores are most likely is far below
the one at which the lists are best. So it is a search over a few values by NDCG@100.
"""

from __future__ import annotations

import torch

from models.networks.hybrid_vae import HybridVAE
from training.evaluation.evaluate import Asked, tally
from training.evaluation.network_predictor import NetworkPredictor
from training.ratings import Ratings
from training.split import Fold

CANDIDATES = (2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 70.0, 110.0, 170.0)
FIGURE = "ndcg@100"


@torch.no_grad()
def choose_sharpness(
    network: HybridVAE, ratings: Ratings, fold: Fold, *, liked_from: float
) -> None:
    """Set the sharpness of the network's shallow path to the best candidate on `fold`.

    Nothing happens without such a path, or where nobody of the fold has a target.
    """
    if network.shallow is None:
        return
    scale = (ratings.scale.minimum, ratings.scale.maximum)
    predictor = NetworkPredictor("candidate", network, scale)
    asked = Asked(liked_from, stars=False)
    found: dict[float, float] = {}
    kept = network.shallow.sharpness.clone()
    for candidate in CANDIDATES:
        network.shallow.sharpness.fill_(candidate)
        found[candidate] = tally(predictor, ratings, fold, asked).figures().get(FIGURE, 0.0)
    best = max(found, key=found.__getitem__)
    network.shallow.sharpness.fill_(best if found[best] > 0 else float(kept))
