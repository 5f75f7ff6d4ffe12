"""Losses as modules: `functional`'s, with their settings kept.

Invariant: a reduction that is none of "mean", "sum", "none" is refused when the loss is made or first called.
"""

from __future__ import annotations

from minitensor import functional as F
from minitensor.errors import ArgumentError
from minitensor.nn.module import Module
from minitensor.tensor import Tensor


class _Loss(Module):
    """What losses have in common: how single losses become one number."""

    _reductions: tuple[str, ...] = ("mean", "sum", "none")

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in self._reductions:
            raise ArgumentError(f"reduction is one of {self._reductions}, not {reduction!r}")
        self.reduction = reduction

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class MSELoss(_Loss):
    """`functional.mse_loss`: squared differences.

    >>> import minitensor as mt
    >>> mt.nn.MSELoss()(mt.asarray([1.0, 3.0]), mt.zeros(2)).item()
    5.0
    """

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(prediction, target, self.reduction)


class L1Loss(_Loss):
    """`functional.l1_loss`: magnitudes of differences."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(prediction, target, self.reduction)


class SmoothL1Loss(_Loss):
    """`functional.smooth_l1_loss`."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(prediction, target, self.reduction, self.beta)


class HuberLoss(_Loss):
    """`functional.huber_loss`."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(prediction, target, self.reduction, self.delta)


class NLLLoss(_Loss):
    """`functional.nll_loss`: of log-probabilities and labels."""

    def __init__(self, weight: Tensor | None = None, ignore_index: int | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index

    weight: Tensor | None

    def forward(self, log_probabilities: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(log_probabilities, target, self.reduction, weight=self.weight, ignore_index=self.ignore_index)


class CrossEntropyLoss(_Loss):
    """`functional.cross_entropy`: of logits and labels, or probabilities.

    >>> import minitensor as mt
    >>> round(mt.nn.CrossEntropyLoss(ignore_index=0)(mt.zeros((2, 4)), mt.asarray([0, 2])).item(), 4)
    1.3863
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    weight: Tensor | None

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            logits,
            target,
            self.reduction,
            weight=self.weight,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )


class BCELoss(_Loss):
    """`functional.binary_cross_entropy`: of probabilities."""

    def forward(self, probabilities: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy(probabilities, target, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """`functional.binary_cross_entropy_with_logits`."""

    def __init__(self, reduction: str = "mean", pos_weight: Tensor | None = None) -> None:
        super().__init__(reduction)
        self.register_buffer("pos_weight", pos_weight)

    pos_weight: Tensor | None

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, target, self.reduction, pos_weight=self.pos_weight)


class KLDivLoss(_Loss):
    """`functional.kl_div`: of log-probabilities and probabilities; "batchmean" is the divergence a row."""

    _reductions = ("mean", "sum", "none", "batchmean")

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, log_probabilities: Tensor, target: Tensor) -> Tensor:
        return F.kl_div(log_probabilities, target, self.reduction, log_target=self.log_target)


class MarginRankingLoss(_Loss):
    """`functional.margin_ranking_loss`."""

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, first: Tensor, second: Tensor, target: Tensor) -> Tensor:
        return F.margin_ranking_loss(first, second, target, self.reduction, self.margin)


class TripletMarginLoss(_Loss):
    """`functional.triplet_margin_loss`."""

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return F.triplet_margin_loss(anchor, positive, negative, self.reduction, self.margin)


class GaussianNLLLoss(_Loss):
    """`functional.gaussian_nll_loss`."""

    def __init__(self, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.full, self.eps = full, eps

    def forward(self, prediction: Tensor, target: Tensor, var: Tensor) -> Tensor:
        return F.gaussian_nll_loss(prediction, target, var, self.reduction, full=self.full, eps=self.eps)


class CosineSimilarity(Module):
    """`functional.cosine_similarity`."""

    def __init__(self, axis: int = 1, eps: float = 1e-8) -> None:
        self.axis, self.eps = axis, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.cosine_similarity(x1, x2, self.axis, self.eps)
