"""Real photographs with boxes that people made, part of the collection: blood cells (BCCD, MIT licence)."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from .. import store
from .reading import read_boxes
from .table import BoxTable


@dataclass(frozen=True)
class Cells:
    """Photographs of blood cells with boxes of red cells, white cells and platelets."""

    table: BoxTable  # boxes in pixels of the small photographs; I images
    pixels: UInt8[np.ndarray, "I 120 160 3"]  # in the order of table.image_ids
    split: Shaped[np.ndarray, " I"]  # the authors': "train", "val" or "test"


def cells() -> Cells:
    """The 364 photographs of BCCD at 160 x 120 with 4,886 boxes; nothing is downloaded.

    Many red cells have no box. Where they come from: data/cells/README.txt. Raises FileNotFoundError where
    the data folder is not there.
    """
    path = store.data_path("cells/boxes.json")
    table, images = read_boxes(path), json.loads(path.read_text("utf-8"))["images"]
    by_id = {image["id"]: image for image in images}
    ordered = [by_id[name] for name in table.image_ids]
    pixels = np.stack([np.asarray(Image.open(path.parent / "images" / one["file_name"])) for one in ordered])
    return Cells(table, pixels, np.array([one["split"] for one in ordered]))
