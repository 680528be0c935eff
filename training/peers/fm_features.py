"""What a factorisation machine sees of a user, an item and a row, as sparse columns.

The features of Bayesian SVD++ "flipped" (Rendle, Zhang and Koren 2019) are who the user is, the
items the user rated, who the item is, the users who rated it. Groups of side information stand
beside them. Everything that is several things at once shares unit length.

This module runs in a peer's environment and imports numpy, scipy and the exchange.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, eye_array, hstack

from training.peers.exchange import Task
from training.peers.side_exchange import Group, Groups, SideInformation


def svdpp_features(task: Task) -> tuple[Any, Any]:
    """Sparse [U, U + I] and [I, I + U]: who it is, and what was rated, shares of unit length."""
    ones = np.ones(len(task.users))
    shape = (task.user_count, task.item_count)
    rated_UI = csr_matrix((ones, (task.users, task.items)), shape=shape)
    return _with_identity(rated_UI), _with_identity(rated_UI.T.tocsr())


def side_features(task: Task, side: SideInformation) -> tuple[Any, Any]:
    """The features of SVD++ for every user and every item, widened by their groups."""
    users, items = svdpp_features(task)
    return _beside([users], side.users), _beside([items], side.items)


def side_table(groups: Groups) -> Any:
    """Groups side by side, a sparse matrix; None if there are none."""
    return _beside([], groups) if groups else None


def group_widths(task: Task, side: SideInformation) -> list[int]:
    """How many columns share a prior, in the order of the columns: rows, users, items."""
    users, items = task.user_count, task.item_count
    return [
        *(group.width for group in side.rows),
        users, items, *(group.width for group in side.users),
        items, users, *(group.width for group in side.items),
    ]  # fmt: skip


def _with_identity(rated: Any) -> Any:
    counts = np.maximum(np.diff(rated.indptr), 1)
    scaled = rated.multiply(1 / np.sqrt(counts)[:, None])
    return csr_matrix(hstack([eye_array(rated.shape[0]), scaled], format="csr"))


def _beside(matrices: list[Any], groups: Groups) -> Any:
    return csr_matrix(hstack([*matrices, *map(_unit, groups)], format="csr"))


def _unit(group: Group) -> Any:
    """Sparse [height, width]: every row that has a category at all is of length 1."""
    counts = np.bincount(group.rows, minlength=group.height)
    shape = (group.height, group.width)
    return csr_matrix((1 / np.sqrt(counts[group.rows]), (group.rows, group.columns)), shape=shape)
