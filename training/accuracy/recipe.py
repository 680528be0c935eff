"""What makes a measured row out of date: other settings, or other code behind the model.

A recipe is the digest of a cell's settings and of the source of every module of ours that the
model is made by (training.code_digest).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.code_digest import ROOT, code_digest

# They decide what is told and written; or what they yield is told apart by itself: values of a
# configuration are settings of the recipe, and rows read from a source are in the split's digest.
APART = frozenset(
    {
        "models.bundle",
        "training.code_version",
        "training.config",
        "training.ensembles.ensemble_report",
        "training.errors",
        "training.export",
        "training.publish",
        "training.evaluation.examples",
        "training.evaluation.fifths",
        "training.evaluation.record",
        "training.evaluation.reliability",
        "training.report",
        "training.evaluation.scores",
        "training.evaluation.star_errors",
        "training.ensembles.serving_price",
        "training.sources",
    }
)
# Formulas and rows, which every figure depends on.
COMMON = ("training.evaluation.evaluate", "training.evaluation.metrics", "training.split")


def recipe(settings: dict[str, Any], modules: Sequence[str], root: Path = ROOT) -> str:
    """SHA-256 over settings (JSON) and the code of the modules and of all they import of ours.

    `root` is the folder of the packages.
    """
    sha256 = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    sha256.update(code_digest((*modules, *COMMON), APART, root).encode())
    return sha256.hexdigest()
