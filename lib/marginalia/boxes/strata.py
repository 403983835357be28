"""Excess correlation in parts of a data set: by number of boxes, by size, by class, or by one's own labels.

Every part is measured against itself: boxes are permuted inside the part only. A part chosen by what is in
its images (large boxes, say) against a null with boxes of all images would show the choice and not a
relation.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .correlation import known_sizes
from .nulls import COUNT_EDGES, ExcessCorrelation, excess_correlation
from .table import BoxTable

if TYPE_CHECKING:
    import pandas as pd

SIZE_EDGES = (0.05, 0.1, 0.2, 0.4)  # side of a box as a part of its image


def count_strata(table: BoxTable) -> list[str | None]:
    """Label of each image by its number of boxes, "2", "3-4", "5-8", "9-16" or "17+"; None below two."""
    between = (f"{a}" if b == a + 1 else f"{a}-{b - 1}" for a, b in pairwise(COUNT_EDGES))
    names = [*between, f"{COUNT_EDGES[-1]}+"]
    return [None if k == 0 else names[k - 1] for k in np.digitize(table.counts, COUNT_EDGES)]


def size_strata(table: BoxTable) -> list[str | None]:
    """Label of each image by the median size of its boxes, sqrt(w h / (W H)); None with fewer than two boxes.

    The labels are "< 0.05", "0.05-0.1", "0.1-0.2", "0.2-0.4" and "0.4+". Raises ValueError where sizes are
    missing.
    """
    part = np.sqrt((table.xywh[:, 2:] / known_sizes(table, "size_strata")[table.image]).prod(axis=1))  # (N,)
    order = np.lexsort((part, table.image))
    count = table.counts
    first = np.cumsum(count) - count
    several = np.flatnonzero(count > 1)
    low = part[order[first[several] + (count[several] - 1) // 2]]
    high = part[order[first[several] + count[several] // 2]]
    names = [f"< {SIZE_EDGES[0]}", *(f"{a}-{b}" for a, b in pairwise(SIZE_EDGES)), f"{SIZE_EDGES[-1]}+"]
    labels = [None] * len(count)
    for image, k in zip(several, np.digitize((low + high) / 2, SIZE_EDGES), strict=True):
        labels[image] = names[k]
    return labels


def excess_by(table: BoxTable, labels: Sequence[str | None], **options) -> pd.DataFrame:
    """excess_correlation inside each group of images that carry one label; one row a group.

    `labels` holds one label an image, None for images that belong nowhere. `options` are those of
    excess_correlation. Rows come in the order of the leading numbers of the labels, then of the labels.
    Groups without an image of two usable boxes have no row. Column `q_value` is the p-value after Benjamini
    and Hochberg's correction for the number of groups. Raises ValueError for a wrong number of labels.
    """
    if len(labels) != len(table.image_ids):
        raise ValueError(f"excess_by: {len(labels)} labels for {len(table.image_ids)} images")
    names = sorted({label for label in labels if label is not None}, key=_leading_number)
    number = {name: k for k, name in enumerate(names)} | {None: -1}
    group = np.array([number[label] for label in labels], np.int64)[table.image]
    return _frame({name: table.where(group == k) for name, k in number.items() if k >= 0}, options)


def excess_by_class(table: BoxTable, **options) -> pd.DataFrame:
    """excess_correlation of each category on its own: only its boxes are measured and permuted.

    One row a category that has an image with two usable boxes; `options` are those of excess_correlation, so
    null="free" is the class's own null. Column `q_value` as in excess_by.
    """
    classes = np.unique(table.category).tolist()
    return _frame({table.names.get(c, str(c)): table.where(table.category == c) for c in classes}, options)


def _leading_number(label: str) -> tuple[float, str]:
    """Sort "9-16" before "17+", and "< 0.05" before both."""
    digits = "".join(c if c in "0123456789." else " " for c in label).split()
    if label[:1] == "<":
        return (-np.inf, label)
    return (float(digits[0]) if label[:1].isdigit() else np.inf, label)


def _frame(parts: dict[str, BoxTable], options: dict) -> pd.DataFrame:
    import pandas as pd
    from scipy.stats import false_discovery_control

    crowd = options.get("crowd", False)
    records: dict[str, ExcessCorrelation] = {}
    for name, part in parts.items():
        if ((part if crowd else part.where(~part.crowd)).counts > 1).any():
            records[name] = excess_correlation(part, **options)
    columns = (
        "observed",
        "null_mean",
        "null_std",
        "excess",
        "low",
        "high",
        "p_value",
        "effect_size",
        "images",
    )
    rows = []
    for name, record in records.items():
        low, high = record.interval
        rows.append({"group": name} | {"low": low, "high": high, **vars(record)})
    frame = pd.DataFrame(rows, columns=["group", "null", *columns])
    frame["q_value"] = false_discovery_control(frame["p_value"]) if len(frame) else np.zeros(0)
    return frame
