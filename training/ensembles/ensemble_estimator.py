"""An ensemble as a run fits it: its members one after the other, each in a folder of its own.

Weights are fitted on validation and frozen; members without any are not fitted again. A resumed run
takes up each member where it stopped, finished ones as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.networks.ensemble import Ensemble, Shares
from training.ensembles.ensemble_report import EnsembleReport, MemberReport, Price
from training.ensembles.member import Member, RidgeSettings
from training.ensembles.ridge_estimator import RidgeEstimator
from training.ensembles.serving_price import price_of
from training.ensembles.weighing import Added, weigh
from training.fitting.estimator import Estimator, FittedModel
from training.fitting.network_estimator import NetworkEstimator
from training.fitting.watch import EpochRecord
from training.request import Request
from training.teachers.faculty import Faculty


@dataclass(frozen=True)
class FittedMember:
    """A member, what came out of its fit, its weights and what it adds on validation."""

    member: Member
    fitted: FittedModel
    rating_weight: float
    preference_weight: float
    added: Added

    @property
    def counts(self) -> bool:
        """Whether it has a weight in either head."""
        return max(self.rating_weight, self.preference_weight) > 0


@dataclass(frozen=True)
class FittedEnsemble:
    """Members with their weights; `network` holds those that count. It has no epochs of its own."""

    members: tuple[FittedMember, ...]
    centre: float
    network: Ensemble
    name: str = "ensemble"
    epochs: None = None
    history: Sequence[EpochRecord] = ()

    @property
    def warnings(self) -> list[str]:
        """Those of the members, told apart."""
        return [
            f"{member.member.name}: {warning}"
            for member in self.members
            for warning in member.fitted.warnings
        ]


class EnsembleEstimator:
    """A `training.fitting.estimator.ServedEstimator` made of others."""

    def __init__(self, request: Request, faculty: Faculty) -> None:
        self.request = request
        self.members = request.configuration.ensemble or ()
        self.estimators = [_estimator_of(member, request, faculty) for member in self.members]

    def choose(self) -> FittedEnsemble | None:
        """Choose every member, then the weights."""
        chosen: list[FittedModel] = []
        for member, estimator in zip(self.members, self.estimators, strict=True):
            self.request.say(f"Fitting the member {member.name} ({member.kind})")
            fitted = estimator.choose()
            if fitted is None:
                return None
            chosen.append(fitted)
        return self._weighed(chosen)

    def _weighed(self, chosen: list[FittedModel]) -> FittedEnsemble:
        request, fold = self.request, self.request.split.validation
        visible, hidden = (
            request.ratings.histories(fold.visible),
            request.ratings.histories(fold.hidden),
        )
        weighed = weigh(
            [fitted.network for fitted in chosen], visible, hidden, request.ratings.scale,
            request.configuration.evaluation.liked_from,
        )  # fmt: skip
        columns = (
            self.members,
            chosen,
            weighed.shares.rating,
            weighed.shares.preference,
            weighed.added,
        )
        members = tuple(FittedMember(*row) for row in zip(*columns, strict=True))
        return _ensemble(members, weighed.shares.centre)

    def refit(self, chosen: FittedEnsemble) -> FittedEnsemble | None:
        """Fit the members that count again; their weights stay."""
        members = []
        for member, estimator in zip(chosen.members, self.estimators, strict=True):
            if member.counts:
                fitted = estimator.refit(member.fitted)
                if fitted is None:
                    return None
                member = replace(member, fitted=fitted)
            members.append(member)
        return _ensemble(tuple(members), chosen.centre)

    def report(self, final: FittedEnsemble) -> EnsembleReport:
        """What members added on validation, and what the refitted graphs cost to serve."""
        ratings = self.request.ratings
        items, histories = len(ratings.catalog), ratings.histories()
        return EnsembleReport(
            members=[
                _report(member, price_of(member.fitted.network, items, ratings.scale, histories))
                for member in final.members
            ],
            price=price_of(final.network, items, ratings.scale, histories),
        )


def _estimator_of(member: Member, request: Request, faculty: Faculty) -> Estimator[Any]:
    own = replace(
        request,
        configuration=request.configuration.of_member(member),
        folder=request.folder / member.name,
    )
    if member.kind == "ridge-fold-in":
        return RidgeEstimator(own, faculty, member.ridge or RidgeSettings())
    return NetworkEstimator(own, faculty)


def _ensemble(members: tuple[FittedMember, ...], centre: float) -> FittedEnsemble:
    counting = [member for member in members if member.counts]
    shares = Shares(
        centre,
        tuple(member.rating_weight for member in counting),
        tuple(member.preference_weight for member in counting),
    )
    network = Ensemble([member.fitted.network for member in counting], shares).eval()
    return FittedEnsemble(members, centre, network)


def _report(member: FittedMember, price: Price) -> MemberReport:
    added = member.added
    return MemberReport(
        name=member.member.name,
        kind=member.member.kind,
        chosen_epoch=member.fitted.epochs,
        rmse=added.rmse,
        ndcg_100=added.ndcg,
        rating_weight=member.rating_weight,
        preference_weight=member.preference_weight,
        rmse_without=added.rmse_without,
        ndcg_without=added.ndcg_without,
        price=price,
        epochs=[record.row for record in member.fitted.history],
    )
