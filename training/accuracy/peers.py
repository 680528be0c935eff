"""The peers of the table: tuned on validation, refitted with every choice frozen, scored once."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from training.accuracy.bench import LIKED_FROM, Bench, Measured
from training.accuracy.kept import Kept, keep
from training.accuracy.plan import HELD_OUT_USERS
from training.accuracy.search import Found, Search, search
from training.peers.asking import Asked, Fit, Peer, ask
from training.peers.environment import PINS
from training.peers.multvae import MultVAESettings, choose_multvae, refit_multvae
from training.split import Fold, Rows

IALS = Peer("ials", knows_histories=True)
SVDPP = Peer("svdpp", knows_histories=False)
MYFM = Peer("myfm", knows_histories=False)

IALS_SEARCH = Search(
    start={"factors": 64, "regularization": 30.0, "alpha": 3.0, "iterations": 10},
    grid={
        "alpha": (1.0, 3.0, 10.0),
        "regularization": (10.0, 30.0, 100.0),
        "factors": (32, 64, 128),
        "iterations": (10, 20),
    },
    figure="ndcg@100",
    higher=True,
)
SVDPP_SEARCH = Search(
    start={"n_factors": 20, "n_epochs": 30, "lr_all": 0.007, "reg_all": 0.05},
    grid={"reg_all": (0.02, 0.1), "n_epochs": (15,)},  # a trial on MovieLens 1M takes minutes
    figure="rmse",
    higher=False,
    rounds=1,
)
MYFM_SETTINGS = {"rank": 24, "draws": 300}
MULTVAE = MultVAESettings()


def peer_settings(peer: Peer) -> dict[str, Any]:
    """What a peer's figures depend on beside its script: its grid or settings, and its pins."""
    chosen = {"ials": asdict(IALS_SEARCH), "svdpp": asdict(SVDPP_SEARCH), "myfm": MYFM_SETTINGS}
    pins = [line for line in (PINS / f"{peer.name}.txt").read_text().splitlines() if "==" in line]
    return {"settings": chosen[peer.name], "pins": sorted(pins)}


def measure_ials(bench: Bench) -> Measured:
    """Alternating least squares on likes; it ranks and does not rate."""
    return _tuned(bench, IALS, IALS_SEARCH)


def measure_svdpp(bench: Bench) -> Measured:
    """SVD++ by gradient descent; it rates. Every item for everybody would be too many pairs."""
    measured = _tuned(bench, SVDPP, SVDPP_SEARCH)
    epochs = measured.choices["settings"]["n_epochs"]
    return Measured(measured.scores, epochs, measured.train_seconds, measured.choices)


def measure_myfm(bench: Bench) -> Measured:
    """Bayesian SVD++ flipped, with nothing to choose; what it predicts is kept for the blend."""
    split = bench.split
    asked = _ask(bench, MYFM, split.refit, split.tests, MYFM_SETTINGS)
    if bench.cell.protocol not in HELD_OUT_USERS:
        on_validation = _ask(bench, MYFM, split.fit, (split.validation,), MYFM_SETTINGS)
        kept = Kept(
            bench.ratings_of(on_validation.predictors[0], split.validation),
            tuple(map(bench.ratings_of, asked.predictors, split.tests)),
            asked.fit_seconds,
        )
        keep(bench.folder_of(bench.cell), kept)
    scores = bench.score_tests(asked.predictors, ranking=False)
    return Measured(scores, None, asked.fit_seconds, {"settings": MYFM_SETTINGS})


def measure_multvae(bench: Bench) -> Measured:
    """Mult-VAE, its epoch chosen by NDCG@100 on the validation fold."""
    split = bench.split
    model = choose_multvae(
        bench.ratings, split.fit, split.validation,
        liked_from=LIKED_FROM, seed=bench.seed, settings=MULTVAE,
    )  # fmt: skip
    seconds = model.seconds
    if bench.refits:
        model = refit_multvae(model, bench.ratings, split.refit, seed=bench.seed, settings=MULTVAE)
        seconds += model.seconds
    return Measured(bench.score_tests(model), model.epoch, seconds)


def _tuned(bench: Bench, peer: Peer, space: Search) -> Measured:
    """Choose by trials on the fit rows, then fit anew on all training rows and score."""
    found = _choose(bench, peer, space)
    asked = _ask(bench, peer, bench.split.refit, bench.split.tests, found.settings)
    scores = bench.score_tests(asked.predictors)
    choices = asdict(found) | {"figure": space.figure, "grid": space.grid}
    return Measured(scores, None, asked.fit_seconds, choices)


def _choose(bench: Bench, peer: Peer, space: Search) -> Found:
    validation = bench.split.validation

    def trial(settings: dict[str, Any]) -> float:
        asked = _ask(bench, peer, bench.split.fit, (validation,), settings)
        scores = bench.score(asked.predictors[0], validation, ranking=space.higher)
        value = scores.metrics[space.figure]
        bench.say(f"  {settings}: validation {space.figure} {value:.4f}")
        return value

    return search(space, trial)


def _ask(
    bench: Bench, peer: Peer, rows: Rows, folds: tuple[Fold, ...], settings: dict[str, Any]
) -> Asked:
    fit = Fit(bench.ratings, rows, settings, bench.seed, LIKED_FROM)
    return ask(peer, fit, folds, bench.state / "peers")
