"""Losses of a student that learns from a teacher: by logits, by features, by the shape of a batch of them.

    L = CE(z_s, y) + alpha L_KD(z_s, z_t) + delta L_topology(F_s, F_t)     (TopKD: alpha 2 or 4, delta 5)

z (B, C) are logits, F (B, D) features of a batch, a cloud of B points. What comes from the teacher gets no
gradient. Where the student's features are narrower than the teacher's, a linear map learned with the student
comes first (TopKD: a 1 x 1 convolution); losses of distances and deaths need none.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy, kl_div, mse_loss, smooth_l1_loss

from .components import h0_deaths
from .images import Weight, persistence_profile, topkd_weight
from .ripsnet import RipsNet

Topology = Callable[[Float[Tensor, "B D"], Float[Tensor, "B D"]], Float[Tensor, ""]]


def kd_loss(
    z_s: Float[Tensor, "B C"], z_t: Float[Tensor, "B C"], temperature: float = 4.0
) -> Float[Tensor, ""]:
    """T^2 / B times the sum of KL(softmax(z_t / T) || softmax(z_s / T)) over the batch (Hinton, 2015)."""
    teacher = (z_t.detach() / temperature).log_softmax(-1)
    student = (z_s / temperature).log_softmax(-1)
    return temperature**2 * kl_div(student, teacher, reduction="batchmean", log_target=True)


def hint_loss(f_s: Float[Tensor, "B D"], f_t: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    """Mean squared difference of the features themselves (FitNets, 2015)."""
    return mse_loss(f_s, f_t.detach())


def relational_loss(f_s: Float[Tensor, "B D_s"], f_t: Float[Tensor, "B D_t"]) -> Float[Tensor, ""]:
    """Huber loss of all pairs' distances, each divided by the batch's mean (RKD-D, Park et al. 2019)."""
    student, teacher = (torch.pdist(features) for features in (f_s, f_t.detach()))  # (B (B - 1) / 2,)
    return smooth_l1_loss(student / student.mean(), teacher / teacher.mean())


def deaths_loss(f_s: Float[Tensor, "B D_s"], f_t: Float[Tensor, "B D_t"]) -> Float[Tensor, ""]:
    """Mean squared difference of sorted H0 deaths: exact, with no window, weight or bandwidth to choose.

    B - 1 times this is the squared 2-Wasserstein distance of the two diagrams without the diagonal.
    """
    return mse_loss(h0_deaths(f_s), h0_deaths(f_t.detach()))


def profile_loss(
    f_s: Float[Tensor, "B D_s"],
    f_t: Float[Tensor, "B D_t"],
    bandwidth: float,
    ranges: tuple[float, float],
    scale: float = 1.0,
    weight: Weight = topkd_weight,
) -> Float[Tensor, ""]:
    """Mean squared difference of exact H0 persistence profiles, divided by `scale` (their largest value,
    say).

    Deaths outside `ranges` leave the profile, and an empty one may cost less than one that does not fit:
    with a large delta a student can shrink its features to nothing. `deaths_loss` cannot.
    """
    student, teacher = (
        persistence_profile(h0_deaths(features), bandwidth, ranges, weight=weight) / scale
        for features in (f_s, f_t.detach())
    )
    return mse_loss(student, teacher)


def ripsnet_loss(net: RipsNet, f_s: Float[Tensor, "B D"], f_t: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    """Mean squared difference of the images that a RipsNet of the teacher predicts (TopKD).

    The same network sees both, and does not learn: the student's features get gradients, its weights do not.
    """
    frozen = {name: weight.detach() for name, weight in net.named_parameters()}
    return mse_loss(functional_call(net, frozen, f_s), functional_call(net, frozen, f_t.detach()))


def topkd_loss(
    z_s: Float[Tensor, "B C"],
    z_t: Float[Tensor, "B C"],
    labels: Int[Tensor, " B"],
    f_s: Float[Tensor, "B D_s"],
    f_t: Float[Tensor, "B D_t"],
    topology: Topology,
    alpha: float = 2.0,
    delta: float = 5.0,
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """TopKD's loss and its parts, for any topology term; `functools.partial(ripsnet_loss, net)` in TopKD.

    delta = 0 with the same alpha is the control that tells what the topology adds.
    """
    parts = {
        "ce": cross_entropy(z_s, labels),
        "kd": alpha * kd_loss(z_s, z_t),
        "topology": delta * topology(f_s, f_t),
    }
    return sum(parts.values()), {name: part.item() for name, part in parts.items()}
