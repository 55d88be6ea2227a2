"""Losses: one number, or one for each element where reduction is 0."""

from __future__ import annotations

from . import costs
from .op import Op, rows
from .shapes import network
from .shapes.elementwise import absolute, floating, promoted

__all__ = ["ROWS"]

ROWS: tuple[Op, ...] = (
    *rows(
        network.loss(),
        "Squared difference.",
        "mse_loss(Tensor self, Tensor target, int reduction=1) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        network.loss(absolute),
        "Absolute difference.",
        "l1_loss(Tensor self, Tensor target, int reduction=1) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        network.loss(),
        "Absolute difference, squared near 0.",
        "smooth_l1_loss(Tensor self, Tensor target, int reduction=1, float beta=1.) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        network.loss(promoted, "self"),
        "Absolute difference, squared near 0, scaled by delta.",
        "huber_loss(Tensor self, Tensor target, int reduction=1, float delta=1.) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        network.loss(promoted, "self"),
        "Logistic loss of two classes.",
        "soft_margin_loss(Tensor self, Tensor target, int reduction=1) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        network.loss(),
        "Cross entropy of probabilities of two classes.",
        "binary_cross_entropy(Tensor self, Tensor target, Tensor? weight=None, int reduction=1) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        network.loss(),
        "Cross entropy of scores of two classes.",
        "binary_cross_entropy_with_logits(Tensor self, Tensor target, Tensor? weight=None, Tensor? pos_weight=None, "
        "int reduction=1) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        network.loss(),
        "Kullback-Leibler divergence of log-probabilities.",
        "kl_div(Tensor self, Tensor target, int reduction=1, *, bool log_target=False) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        network.loss(floating),
        "Negative log-likelihood of Poisson counts.",
        "poisson_nll_loss(Tensor input, Tensor target, bool log_input, bool full, float eps, int reduction) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        network.loss(promoted, "self"),
        "Hinge loss of a distance.",
        "hinge_embedding_loss(Tensor self, Tensor target, float margin=1., int reduction=1) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        network.loss(floating),
        "Hinge loss of an order.",
        "margin_ranking_loss(Tensor input1, Tensor input2, Tensor target, float margin=0., int reduction=1) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        network.class_loss,
        "Cross entropy of scores of classes.",
        "cross_entropy_loss(Tensor self, Tensor target, Tensor? weight=None, int reduction=1, "
        "SymInt ignore_index=-100, float label_smoothing=0.) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        network.class_loss,
        "Negative log-likelihood of classes.",
        "nll_loss_nd(Tensor self, Tensor target, Tensor? weight=None, int reduction=1, "
        "SymInt ignore_index=-100) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        None,
        "Hinge loss of cosine similarity.",
        "cosine_embedding_loss(Tensor input1, Tensor input2, Tensor target, float margin=0., "
        "int reduction=1) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        network.cosine_similarity,
        "Cosine of the angle along an axis.",
        "cosine_similarity(Tensor x1, Tensor x2, int dim=1, float eps=1e-08) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        network.pairwise_distance,
        "p-norm of differences along the last axis.",
        "pairwise_distance(Tensor x1, Tensor x2, float p=2., float eps=9.9999999999999995e-07, "
        "bool keepdim=False) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        None,
        "Hinge loss of two distances.",
        "triplet_margin_loss(Tensor anchor, Tensor positive, Tensor negative, float margin=1., float p=2., "
        "float eps=9.9999999999999995e-07, bool swap=False, int reduction=1) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        None,
        "Hinge loss of classes.",
        "multi_margin_loss(Tensor self, Tensor target, Scalar p=1, Scalar margin=1, Tensor? weight=None, "
        "int reduction=1) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        None,
        "Hinge loss of several classes.",
        "multilabel_margin_loss(Tensor self, Tensor target, int reduction=1) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        network.ctc_loss,
        "Connectionist temporal classification.",
        "ctc_loss.IntList(Tensor log_probs, Tensor targets, int[] input_lengths, int[] target_lengths, int blank=0, "
        "int reduction=1, bool zero_infinity=False) -> Tensor",
        "ctc_loss.Tensor(Tensor log_probs, Tensor targets, Tensor input_lengths, Tensor target_lengths, int blank=0, "
        "int reduction=1, bool zero_infinity=False) -> Tensor",
        cost=costs.transcendental,
    ),
)
