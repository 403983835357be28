"""Images varied at random while a detector learns from few of them: turned over, cut out, brightened."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ..boxes.geometry import cxcywh_to_xyxy
from .scenes import SceneBatch

SMALLEST = 0.6  # side of a cut-out, as part of the image's
LEAST = 0.4  # part of a box that has to be inside of the cut-out
LEVELS = 0.2  # brightness and contrast change by at most this part


def augment(scenes: SceneBatch, rng: np.random.Generator, upside_down: bool = False) -> SceneBatch:
    """Every image mirrored or not, a cut-out of it enlarged to its size, brightness and contrast changed.

    A box keeps its part inside of the cut-out, and is dropped where that is less than LEAST of it.
    upside_down: whether images are turned over as well, for what has no top, such as cells.

    >>> from marginalia.detection.scenes import make_scenes
    >>> varied = augment(make_scenes(4), np.random.default_rng(0))
    >>> varied.pixels.shape, len(varied.boxes)
    ((4, 1, 64, 64), 4)
    """
    count = len(scenes.pixels)
    # the cut-out (its left, top and side, normalised to the image's size), and whether each axis is mirrored
    side = rng.uniform(SMALLEST, 1, (count, 1))
    corner = rng.random((count, 2)) * (1 - side)
    sign = np.where(rng.random((count, 2)) < [0.5, 0.5 * upside_down], -1.0, 1.0)

    # pixels: grid_sample counts from -1 to 1 across the image
    middle, half = 2 * (corner + side / 2) - 1, sign * side
    affine = np.zeros((count, 2, 3), np.float32)
    affine[:, 0, 0], affine[:, 1, 1], affine[:, :, 2] = half[:, 0], half[:, 1], middle
    source = torch.from_numpy(scenes.pixels).float()
    grid = F.affine_grid(torch.from_numpy(affine), list(source.shape), align_corners=False)
    pixels = F.grid_sample(source, grid, padding_mode="border", align_corners=False).numpy()
    level, contrast = 1 + rng.uniform(-LEVELS, LEVELS, (2, count, 1, 1, 1))
    mean = pixels.mean((1, 2, 3), keepdims=True)
    pixels = (mean * level + (pixels - mean) * contrast).clip(0, 255).round().astype(np.uint8)

    # boxes: into the cut-out, clipped to it, mirrored
    boxes, labels = [], []
    for n in range(count):
        whole = (cxcywh_to_xyxy(scenes.boxes[n]).reshape(-1, 2, 2) - corner[n]) / side[n]
        inside = whole.clip(0, 1)
        visible = np.prod(inside[:, 1] - inside[:, 0], axis=1) / np.prod(whole[:, 1] - whole[:, 0], axis=1)
        kept = visible >= LEAST
        centre, size = inside[kept].mean(1), inside[kept, 1] - inside[kept, 0]
        centre = np.where(sign[n] < 0, 1 - centre, centre)
        boxes.append(np.concatenate([centre, size], axis=1).astype(np.float32))
        labels.append(scenes.labels[n][kept])
    return SceneBatch(pixels, boxes, labels, scenes.names)
