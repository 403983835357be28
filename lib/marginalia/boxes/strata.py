"""Excess correlation in subsets of a data set: by number of boxes, by size, by class, or by one's own labels.

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
from .nulls import COUNT_EDGES, excess_correlation
from .table import BoxTable

if TYPE_CHECKING:
    import pandas as pd

SIZE_EDGES = (0.05, 0.1, 0.2, 0.4)  # side of a box, normalised to the image size


def count_strata(table: BoxTable) -> pd.Categorical:
    """Label of each image by its number of boxes, "2", "3-4", "5-8", "9-16" or "17+"; NaN below two."""
    import pandas as pd

    names = [str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in pairwise(COUNT_EDGES)]
    return pd.cut(table.counts, [*COUNT_EDGES, np.inf], right=False, labels=[*names, f"{COUNT_EDGES[-1]}+"])


def size_strata(table: BoxTable) -> pd.Categorical:
    """Label of each image by the median size of its boxes, sqrt(w h / (W H)); NaN with fewer than two boxes.

    The labels are "< 0.05", "0.05-0.1", "0.1-0.2", "0.2-0.4" and "0.4+". Raises ValueError where sizes are
    missing.
    """
    import pandas as pd

    side = np.sqrt((table.xywh[:, 2:] / known_sizes(table, "size_strata")[table.image]).prod(axis=1))  # (N,)
    median = pd.Series(side).groupby(table.image).median().reindex(range(len(table.image_ids)))  # (I,)
    names = [f"< {SIZE_EDGES[0]}", *(f"{a}-{b}" for a, b in pairwise(SIZE_EDGES)), f"{SIZE_EDGES[-1]}+"]
    edges = [0, *SIZE_EDGES, np.inf]
    return pd.cut(np.where(table.counts > 1, median, np.nan), edges, right=False, labels=names)


def excess_by(table: BoxTable, labels: Sequence[str], **options) -> pd.DataFrame:
    """excess_correlation inside each group of images that carry one label; one row a group.

    `labels` holds one label an image, None or NaN for images that belong nowhere. `options` are those of
    excess_correlation. Rows come in the order of a categorical's categories, else of the sorted labels.
    Groups without an image of two usable boxes have no row. Column `q_value` is the p-value after Benjamini
    and Hochberg's correction for the number of groups. Raises ValueError for a wrong number of labels.
    """
    import pandas as pd

    if len(labels) != len(table.image_ids):
        raise ValueError(f"excess_by: {len(labels)} labels for {len(table.image_ids)} images")
    groups = pd.Categorical(labels)
    group = groups.codes[table.image]  # (N,), -1 for no label
    return _frame({name: table.where(group == k) for k, name in enumerate(groups.categories)}, options)


def excess_by_class(table: BoxTable, **options) -> pd.DataFrame:
    """excess_correlation of each category on its own: only its boxes are measured and permuted.

    One row a category that has an image with two usable boxes; `options` are those of excess_correlation, so
    null="free" is the class's own null. Column `q_value` as in excess_by.

    >>> boxes = [(10, 20, 30, 40), (40, 30, 20, 10), (15, 10, 40, 20), (5, 5, 9, 19), (50, 5, 9, 9)]
    >>> classes, names = [1, 1, 1, 1, 2], {1: "cup", 2: "jug"}
    >>> table = BoxTable(boxes, [0, 0, 1, 1, 1], ("a", "b"), [(100, 80)] * 2, classes, names)
    >>> excess_by_class(table, null="free")[["group", "images", "observed"]].round(3)
      group  images  observed
    0   cup       2      0.61
    """
    classes = np.unique(table.category).tolist()
    return _frame({table.names.get(c, str(c)): table.where(table.category == c) for c in classes}, options)


def _frame(parts: dict[str, BoxTable], options: dict) -> pd.DataFrame:
    """One row for each part with an image of two boxes that are not crowd."""
    import pandas as pd
    from scipy.stats import false_discovery_control

    rows = []
    for name, part in parts.items():
        if (part.where(~part.crowd).counts > 1).any():
            record = excess_correlation(part, **options)
            low, high = record.interval
            rows.append({"group": name, "low": low, "high": high, **vars(record)})
    numbers = ["null_mean", "null_std", "excess", "low", "high", "p_value", "effect_size", "images"]
    frame = pd.DataFrame(rows, columns=["group", "null", "observed", *numbers])
    frame["q_value"] = false_discovery_control(frame["p_value"]) if rows else []
    return frame
