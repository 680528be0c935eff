"""How many candidates the first stage of selection must take to miss nothing, whatever it takes.

For each user: the rank, by the rough scores of `TwoStageSelector`, of the last of the K items that
float32 puts first. Rough scores are counted here in whole numbers, as any kernel must.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from models.bundle import Bundle
from models.networks.selectors import PreferenceTable, TwoStageSelector, candidates_for
from training.export import recommend_inputs

PLACES = (1, 5, 10, 20, 50, 100)
TABLE = "selector.items_IA"


def candidates_needed(bundle: Bundle, rows: NDArray[np.int64], batch: int = 50) -> dict[str, Any]:
    """By K: the most that any of the users at `rows` needs, what 99.9% need, what is taken."""
    session, table_IA = _user_side(Path(bundle.recommend_graph))
    items_IA = torch.tensor(table_IA)
    selector = TwoStageSelector(PreferenceTable(items_IA[:, :-1], items_IA[:, -1]), 1)
    needed = []
    for start in range(0, len(rows), batch):
        histories = bundle.users.histories.take(rows[start : start + batch])
        (users_BA,) = session.run(["users"], recommend_inputs(histories, len(table_IA), 1))
        exact_BI = users_BA @ table_IA.T
        rough_BI = _rough_scores(selector, users_BA)[:, : len(table_IA)]
        exact_BI[histories.rows, histories.items] = -np.inf
        rough_BI[histories.rows, histories.items] = -np.inf
        needed.append(_last_ranks(exact_BI, rough_BI))
    needed_UK = np.concatenate(needed)
    return {
        str(k): {
            "most": int(ranks_U.max()),
            "99.9%": int(np.quantile(ranks_U, 0.999)),
            "taken": candidates_for(k),
        }
        for k, ranks_U in zip(PLACES, needed_UK.T, strict=True)
    }


def _user_side(graph: Path) -> tuple[onnxruntime.InferenceSession, NDArray[np.float32]]:
    """The float32 graph with what ranking knows of each user [B, A] as an output; the items' side.

    Raises StopIteration if the graph does not rank by one product.
    """
    model = onnx.load(str(graph))
    table = next(tensor for tensor in model.graph.initializer if tensor.name == TABLE)
    product = next(node for node in model.graph.node if TABLE in node.input)
    users = onnx.helper.make_tensor_value_info("users", onnx.TensorProto.FLOAT, None)
    model.graph.node.append(onnx.helper.make_node("Identity", [product.input[0]], ["users"]))
    model.graph.output.append(users)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session, onnx.numpy_helper.to_array(table)


def _rough_scores(selector: TwoStageSelector, users_BA: NDArray[np.float32]) -> NDArray[np.float64]:
    """As the graph on int8 has them, but for the user's own unit U: [B, P]."""
    turned_BA = users_BA @ selector.turned_AA.numpy()
    largest_BU = np.maximum(np.abs(turned_BA).max(axis=1, keepdims=True), 1e-12)
    codes_BA = np.clip(np.rint(turned_BA / largest_BU * 127), -128, 127)
    # Whole numbers below 2**24: float32 counts them exactly.
    sums_BP = codes_BA.astype(np.float32) @ selector.codes_AP.numpy().astype(np.float32)
    rough_BP: NDArray[np.float64] = sums_BP.astype(np.float64) * selector.step_P.numpy()
    return rough_BP


def _last_ranks(exact_BI: NDArray[Any], rough_BI: NDArray[Any]) -> NDArray[np.int64]:
    """[B, K of PLACES]: 1 is the first rank."""
    best_BK = np.argsort(-exact_BI, axis=1, kind="stable")[:, : max(PLACES)]
    rough_BK = np.take_along_axis(rough_BI, best_BK, axis=1)
    ordered_BI = np.sort(rough_BI, axis=1)
    ranks = [
        len(ordered_I) - np.searchsorted(ordered_I, rough_K, side="left")
        for ordered_I, rough_K in zip(ordered_BI, rough_BK, strict=True)
    ]
    worst_BK = np.maximum.accumulate(np.stack(ranks), axis=1)
    return worst_BK[:, [k - 1 for k in PLACES]]
