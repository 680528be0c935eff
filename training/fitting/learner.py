"""HybridVAE as Lightning trains it: one step, one validation, one optimiser. Fitting is `trainer`.

Validation scores the fold as the report does: RMSE over all hidden ratings, NDCG@100 over hidden
liked items with visible items excluded. Ranking costs users x items, as much as a pass of
training where the fold is everybody, so a large fold is ranked for about RANKED_BATCHES batches of
its users, evenly drawn; the report ranks for all.

In a world of several processes every figure is that of all, so all come to the same decisions.
"""

from __future__ import annotations

from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from models.networks.collapse import collapsed
from models.networks.hybrid_vae import HybridVAE
from models.networks.loss import Counts, LossParts, LossWeights, denoising_loss
from models.networks.rater_encoding import leaving_out
from training.config import Optimisation
from training.fitting.adversarial import adversarial_loss
from training.fitting.batches import Batch
from training.fitting.schedules import kl_weight, warmup_factor
from training.fitting.watch import EpochRecord, Watch
from training.world import ALONE, World

NDCG_DEPTH = 100
RANKED_BATCHES = 4


class Learner(pl.LightningModule):
    """Fits one HybridVAE; tells a Watch every epoch's figures."""

    def __init__(
        self,
        network: HybridVAE,
        settings: Optimisation,
        steps_per_epoch: int,
        watch: Watch,
        world: World = ALONE,
    ) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.watch = watch
        self.world = world
        self.steps_per_epoch = steps_per_epoch
        self._sums: dict[str, float] = {}

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Encode the visible part, decode one draw, score the hidden part."""
        attack = self.settings.adversarial
        with parametrize.cached(), leaving_out(self.network, batch.numbers_B):
            parts = adversarial_loss(self, batch, attack) if attack else self(batch)
        squared_error = float(parts.squared_error) * parts.ratings
        self._add(train_squared_error=squared_error, train_rows=parts.ratings)
        self._add(kl=float(parts.kl), preference=float(parts.preference), steps=1.0)
        self._check("The loss", self.world.mean(parts.total.detach()))
        return parts.total

    def forward(self, batch: Batch) -> LossParts:
        """The loss of a batch in training."""
        posterior = self.network.encode(*batch.visible)
        users = self.network.decode(posterior.sample(), self.network.direct(*batch.visible))
        return denoising_loss(
            self.network, posterior, users, batch.hidden, self._weights(), batch.lessons,
            batch.negatives, self._counts(batch),
        )  # fmt: skip

    def _counts(self, batch: Batch) -> Counts:
        own = Counts.of(batch.users, batch.hidden, batch.lessons)
        all_own = np.array([own.ratings, own.liked, own.pairs, own.users], np.float64)
        ratings, liked, pairs, users = self.world.sum(all_own) / self.world.size
        return Counts(ratings, liked, pairs, users, self.world.agreed)

    def _weights(self) -> LossWeights:
        s = self.settings
        epoch = self.global_step / self.steps_per_epoch
        return LossWeights(
            rating=s.rating_weight,
            preference=s.preference_weight,
            kl=kl_weight(s.kl, epoch),
            free_bits=s.kl.free_bits,
            factor_penalty=s.factor_penalty,
            teacher=s.teacher.weight if s.teacher else 0.0,
            ranking_teacher=s.ranking_teacher.weight if s.ranking_teacher else 0.0,
        )

    def on_train_epoch_end(self) -> None:
        """Hand the epoch's figures, those of its validation among them, to the watch."""
        self._check_parameters()
        sums, self._sums = self._mean_of(self._sums), {}
        steps, rows = sums.get("steps") or 1.0, sums.get("train_rows") or 1.0
        figures = {"train_rmse": (sums.get("train_squared_error", 0.0) / rows) ** 0.5}
        figures |= {
            name: sums.get(name, 0.0) / steps for name in ("kl", "preference", "gradient_norm")
        }
        figures["kl_weight"] = self._weights().kl
        figures["learning_rate"] = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        self.log_dict(figures)
        validated = {name: float(v) for name, v in self.trainer.callback_metrics.items()}
        self.watch.record(EpochRecord(self.current_epoch + 1, validated | figures))

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm, and keep it: gradients that grow are an early warning."""
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.gradient_clip)
        self._check("The gradient's norm", norm)
        self._add(gradient_norm=float(norm))

    def on_validation_epoch_start(self) -> None:
        """Start the fold's sums anew; what is judged is the network as it would be served."""
        self._check_parameters()
        self._served = [collapsed(self.network)]  # in a list it is no part of this module
        self._fold = {"squared_error": 0.0, "rows": 0.0, "ndcg": 0.0, "users": 0.0}

    def validation_step(self, batch: Batch, index: int) -> None:
        """Add one batch of the fold to its sums."""
        network, hidden = self._served[0], batch.hidden
        mean_BZ = network.encode(*batch.visible).mean_BZ
        users = network.decode(mean_BZ, network.direct(*batch.visible))
        predicted_T, _ = network.rate(users, hidden.rows_T, hidden.items_T)
        low, high = network.levels_L[0], network.levels_L[-1]
        error_T = predicted_T.clamp(low, high) - hidden.ratings_T
        self._fold["squared_error"] += float(error_T.square().sum())
        self._fold["rows"] += len(error_T)
        if index % max(1, int(sum(self.trainer.num_val_batches)) // RANKED_BATCHES) == 0:
            scores_BI = network.logits(network.with_votes(users, *batch.visible))
            ndcg_B = self._ndcg(scores_BI, batch)
            self._fold["ndcg"] += float(ndcg_B.sum())
            self._fold["users"] += len(ndcg_B)

    def _ndcg(self, scores_BI: Tensor, batch: Batch) -> Tensor:
        """NDCG@100 of the users of a batch who have targets."""
        scores_BI[batch.rows_N, batch.items_N] = -torch.inf
        liked = batch.hidden.liked_T
        target_BI = torch.zeros_like(scores_BI, dtype=torch.bool)
        target_BI[batch.hidden.rows_T[liked], batch.hidden.items_T[liked]] = True
        depth = min(NDCG_DEPTH, scores_BI.shape[1])
        best_BK = torch.topk(scores_BI, depth, dim=1).indices
        discount_K = 1 / torch.log2(torch.arange(depth, device=scores_BI.device) + 2.0)
        gain_B = (target_BI.gather(1, best_BK) * discount_K).sum(1)
        targets_B = target_BI.sum(1)
        ideal_B = torch.cumsum(discount_K, 0)[targets_B.clamp(1, depth) - 1]
        return (gain_B / ideal_B)[targets_B > 0]

    def on_validation_epoch_end(self) -> None:
        """Log the fold's RMSE and NDCG@100."""
        self._fold = self._mean_of(self._fold)
        rows, users = self._fold["rows"] or 1.0, self._fold["users"] or 1.0
        rmse = (self._fold["squared_error"] / rows) ** 0.5
        self.watch.check_finite("The validation RMSE", rmse, self.current_epoch + 1)
        self.log("validation_rmse", rmse, prog_bar=True)
        self.log("validation_ndcg", self._fold["ndcg"] / users, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """AdamW, with the schedule of the configuration."""
        rate = self.settings.learning_rate
        optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=rate.initial,
            weight_decay=self.settings.weight_decay,
            fused=True,
        )
        if rate.schedule == "one_cycle":
            total = self.settings.max_epochs * self.steps_per_epoch
            cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate.initial, total_steps=total)
            return [optimizer], [{"scheduler": cycle, "interval": "step"}]
        if rate.schedule == "plateau":
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, self.mode, factor=0.5, patience=rate.plateau_patience
            )
            return [optimizer], [{"scheduler": plateau, "monitor": self.monitor, "strict": False}]
        return optimizer

    @property
    def monitor(self) -> str:
        """The logged figure that choices follow."""
        return f"validation_{self.settings.monitor}"

    @property
    def mode(self) -> Literal["min", "max"]:
        """Whether the monitored figure is better low or high."""
        return "min" if self.settings.monitor == "rmse" else "max"

    def on_train_batch_start(self, batch: Batch, index: int) -> None:
        """Warm up: set the rate while it rises, then leave it to the schedule."""
        rate = self.settings.learning_rate
        warmup_steps = rate.warmup_epochs * self.steps_per_epoch
        if self.global_step < warmup_steps and rate.schedule != "one_cycle":
            for group in self.trainer.optimizers[0].param_groups:
                group["lr"] = rate.initial * warmup_factor(self.global_step, warmup_steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the epochs' figures, so a resumed run reports all of them."""
        checkpoint["history"] = [(r.epoch, dict(r.figures)) for r in self.watch.history]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the epochs' figures again."""
        self.watch.history[:] = [EpochRecord(*record) for record in checkpoint["history"]]

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, index: int) -> Batch:
        """Move a batch's tensors to the accelerator."""
        return batch.to(device)

    def _check_parameters(self) -> None:
        """What the last step may have broken, before a checkpoint is made of it."""
        for name, parameter in self.network.named_parameters():
            self._check(f"The parameter {name}", parameter.abs().max())

    def _check(self, what: str, value: Tensor) -> None:
        """Raise TrainingDiverged if a scalar is NaN or Inf; a maximum is, if anything is."""
        self.watch.check_finite(what, float(value.detach()), self.current_epoch + 1)

    def _mean_of(self, sums: dict[str, float]) -> dict[str, float]:
        """The same sums, each the mean over the processes."""
        means = self.world.sum(np.array(list(sums.values()))) / self.world.size
        return dict(zip(sums, means.tolist(), strict=True))

    def _add(self, **values: float) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
