"""The models of the table: how each is measured, and what its figures depend on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from training.accuracy.baselines import (
    BASELINE_SETTINGS,
    measure_bias,
    measure_ease,
    measure_pairwise,
    measure_popularity,
)
from training.accuracy.bench import Bench, Measured
from training.accuracy.blend import MEMBERS, measure_blend
from training.accuracy.members import MEMBERS as OFFLINE
from training.accuracy.members import member_settings, members_of
from training.accuracy.networks import configuration_of, measure_network
from training.accuracy.peers import (
    IALS,
    MULTVAE,
    MYFM,
    SVDPP,
    measure_ials,
    measure_multvae,
    measure_myfm,
    measure_svdpp,
    peer_settings,
)
from training.accuracy.plan import Cell
from training.accuracy.recipe import recipe
from training.ensembles.blending import RIDGE
from training.errors import TrainingError


@dataclass(frozen=True)
class Model:
    """One model of the table.

    settings: what its figures depend on beside code. modules: the code they depend on. served:
    whether the service can serve it.
    """

    measure: Callable[[Bench], Measured]
    settings: Callable[[Cell], dict[str, Any]]
    modules: tuple[str, ...]
    served: bool = False


def recipe_of(cell: Cell) -> str:
    """The recipe of a cell as settings and code are now.

    Raises ConfigurationError if its model is a configuration that does not exist.
    """
    if cell.model in OFFLINE:
        return recipe(member_settings(cell) | peer_settings(MYFM), MEMBER_MODULES)
    model = MODELS[cell.model]
    return recipe(model.settings(cell), model.modules)


def _baseline(measure: Callable[[Bench], Measured], name: str, module: str) -> Model:
    settings = BASELINE_SETTINGS[name]
    return Model(measure, lambda cell: settings, (f"training.baselines.{module}",))


def _network_settings(cell: Cell) -> dict[str, Any]:
    return configuration_of(cell).model_dump(mode="json")


def _blend_settings(cell: Cell) -> dict[str, Any]:
    """The recipes of those members that there are; without them it is another blend."""
    recipes: dict[str, Any] = {"ridge": RIDGE}
    for name in (*MEMBERS, *members_of(cell)):
        try:
            recipes[name] = recipe_of(Cell(cell.data, cell.protocol, name, cell.seed))
        except TrainingError:
            recipes[name] = None
    return recipes


MEMBER_MODULES = ("training.peers.myfm_side", "training.peers.side_information")

# A teacher's script runs in another process, so following imports does not find it.
_NETWORK = Model(
    measure_network, _network_settings, ("training.run", "training.peers.myfm_factors"), served=True
)

MODELS: dict[str, Model] = {
    "bias": _baseline(measure_bias, "bias", "bias"),
    "popularity": _baseline(measure_popularity, "popularity", "popularity"),
    "ease": _baseline(measure_ease, "ease", "ease"),
    "pairwise": _baseline(measure_pairwise, "pairwise", "pairwise_training"),
    "ials": Model(measure_ials, lambda cell: peer_settings(IALS), ("training.peers.ials",)),
    "svdpp": Model(measure_svdpp, lambda cell: peer_settings(SVDPP), ("training.peers.svdpp",)),
    "myfm": Model(measure_myfm, lambda cell: peer_settings(MYFM), ("training.peers.myfm",)),
    "multvae": Model(
        measure_multvae, lambda cell: MULTVAE.model_dump(), ("training.peers.multvae",)
    ),
    "proven": _NETWORK,
    "scaled": _NETWORK,
    "best": _NETWORK,
    "ensemble": _NETWORK,
    "blend": Model(measure_blend, _blend_settings, ("training.accuracy.blend",)),
}
