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
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, kl_div, mse_loss, normalize, pad, smooth_l1_loss

from marginalia import training
from marginalia.record import evaluating, record

from .components import h0_deaths
from .diagrams import diagrams
from .features import points_of
from .images import persistence_image, persistence_profile, topkd_weight
from .ripsnet import RipsNet

Logits = Float[Tensor, "B C"]
Features = Float[Tensor, "B D"]  # student and teacher may differ in D
Scalar = Float[Tensor, ""]
Topology = Callable[[Features, Features], Scalar]


def kd_loss(z_s: Logits, z_t: Logits, temperature: float = 4.0) -> Scalar:
    """T^2 / B times the sum of KL(softmax(z_t / T) || softmax(z_s / T)) over the batch (Hinton, 2015)."""
    teacher = (z_t.detach() / temperature).log_softmax(-1)
    student = (z_s / temperature).log_softmax(-1)
    return temperature**2 * kl_div(student, teacher, reduction="batchmean", log_target=True)


def hint_loss(f_s: Features, f_t: Features) -> Scalar:
    """Mean squared difference of the features themselves (FitNets, 2015)."""
    return mse_loss(f_s, f_t.detach())


def relational_loss(f_s: Features, f_t: Features) -> Scalar:
    """Huber loss of all pairs' distances, each divided by the batch's mean (RKD-D, Park et al. 2019)."""
    student, teacher = (torch.pdist(features) for features in (f_s, f_t.detach()))  # (B (B - 1) / 2,)
    return smooth_l1_loss(student / student.mean(), teacher / teacher.mean())


def distance_loss(f_s: Features, f_t: Features) -> Scalar:
    """Squared difference of the mean distances of all pairs: the size of two clouds, nothing of their shape.

    The control of losses of topology: deaths grow with a cloud, and what this loss does too needs none.
    """
    student, teacher = (torch.pdist(features).mean() for features in (f_s, f_t.detach()))
    return mse_loss(student, teacher)


def deaths_loss(f_s: Features, f_t: Features) -> Scalar:
    """Mean squared difference of sorted H0 deaths: exact, with no window, weight or bandwidth to choose.

    B - 1 times this is the squared 2-Wasserstein distance of the two diagrams without the diagonal.
    """
    return mse_loss(*_deaths(f_s, f_t))


def _deaths(f_s: Features, f_t: Features) -> tuple[Tensor, Tensor]:
    """H0 deaths of student and teacher, (B - 1,) each, by one call: zeros for dimensions that one lacks."""
    width = max(f_s.shape[1], f_t.shape[1])
    return h0_deaths(torch.stack([pad(f, (0, width - f.shape[1])) for f in (f_s, f_t.detach())])).unbind()


def persistent_cross_entropy(f_s: Features, f_t: Features, temperature: float = 0.1) -> Scalar:
    """Cross-entropy of the H0 deaths of normalised features, read as soft distributions over bars.

        -sum_k p_k(t) log p_k(s),   p = softmax(sorted deaths of f / |f| / temperature)

    After Persistent Cross Entropy (arXiv 2608.24549), of which we know the idea, not the details: the order
    of bars and the temperature are ours. The norm takes the scale out, the softmax what all deaths share.
    """
    student, teacher = _deaths(normalize(f_s), normalize(f_t))  # (B - 1,)
    return cross_entropy(student / temperature, (teacher / temperature).softmax(-1))


def profile_loss(
    f_s: Features, f_t: Features, bandwidth: float, ranges: tuple[float, float], scale: float = 1.0
) -> Scalar:
    """Mean squared difference of exact H0 persistence profiles divided by `scale`, their largest value, say.

    TopKD's images in dimension 0 are these profiles, with `topkd_weight`, in equal columns, so this is also
    the loss of exact images divided by their largest value. Deaths outside `ranges` leave the profile, and an
    empty one may cost less than one that does not fit: with a large delta a student can shrink its features
    to nothing. `deaths_loss` has no such reward.
    """
    profiles = persistence_profile(torch.stack(_deaths(f_s, f_t)), bandwidth, ranges, weight=topkd_weight)
    return mse_loss(*profiles / scale)


def image_loss(
    f_s: Features,
    f_t: Features,
    dimension: int,
    bandwidth: float,
    ranges: tuple[float, float, float, float],
    scale: float = 1.0,
) -> Scalar:
    """As `profile_loss`, with exact images of one dimension, which gudhi's diagrams give: slow from 1 on."""
    bars = diagrams([f_s, f_t.detach()], dimension).finite(dimension)
    images = [persistence_image(each, bandwidth, ranges, weight=topkd_weight) / scale for each in bars]
    return mse_loss(*images)


def ripsnet_loss(net: RipsNet, f_s: Features, f_t: Features) -> Scalar:
    """Mean squared difference of the images that a RipsNet of the teacher predicts (TopKD).

    The same network sees both, and does not learn: the student's features get gradients, its weights do not.
    """
    frozen = {name: weight.detach() for name, weight in net.named_parameters()}
    return mse_loss(functional_call(net, frozen, f_s), functional_call(net, frozen, f_t.detach()))


def topkd_loss(
    z_s: Logits,
    z_t: Logits,
    labels: Int[Tensor, " B"],
    f_s: Features,
    f_t: Features,
    topology: Topology,
    alpha: float = 2.0,
    delta: float = 5.0,
) -> tuple[Scalar, dict[str, float]]:
    """TopKD's loss and its parts, for any topology term; `functools.partial(ripsnet_loss, net)` in TopKD.

    delta = 0 with the same alpha is the control that tells what the topology adds.
    """
    parts = {
        "ce": cross_entropy(z_s, labels),
        "kd": alpha * kd_loss(z_s, z_t),
        "topology": delta * topology(f_s, f_t),
    }
    return sum(parts.values()), {name: part.item() for name, part in parts.items()}


def distil(
    student: nn.Module,
    teacher: nn.Module,
    batches: Callable[[int], tuple[Tensor, Int[Tensor, " B"]]],
    options: training.Options,
    topology: Topology,
    layers: tuple[str, str],
    alpha: float = 2.0,
    delta: float = 5.0,
    adapter: nn.Module | None = None,
) -> list[training.Row]:
    """Train a student with `topkd_loss` (TopKD, Algorithm 2); returns the rows of `training.fit`.

    batches: number of the step -> inputs and labels. topology: any loss of features, `hint_loss` too; with
    delta 0 it is computed and counts nothing. layers: dotted names in student and teacher of the modules
    whose outputs are the features, as in `collect_features`. adapter: from the student's features to the
    width of the teacher's; it learns too. The teacher is in evaluation mode, and learns nothing.
    """
    learners = nn.ModuleList([student, adapter or nn.Identity()])

    def step(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
        x, labels = batch
        with evaluating(teacher), record(teacher, layers[1]) as of_teacher:
            z_t = teacher(x)
        with record(student, layers[0], gradients=True) as of_student:
            z_s = student(x)
        f_s = learners[1](points_of(of_student, layers[0]))  # (B, D)
        f_t = points_of(of_teacher, layers[1])
        return topkd_loss(z_s, z_t, labels, f_s, f_t, topology, alpha, delta)

    return training.fit(learners, step, batches, options)
