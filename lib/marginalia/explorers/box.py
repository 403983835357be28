"""Boxes on an image that can be moved, and what their Pearson correlations and MC make of it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import traitlets
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from marginalia.boxes.correlation import BOX_FORMATS, macroscopic_correlation, pearson, unit_profiles
from marginalia.boxes.geometry import xywh_to_cxcywh, xywh_to_xyxy
from marginalia.boxes.table import BoxTable, BoxWarning
from marginalia.boxes.uniform import uniform_boxes
from marginalia.plots import DASHED, boxes_on, matrix, place_tags
from marginalia.style import PALETTE

from .base import ListExplorer, Rows, decoded, encoded, joined

PARTS = ("canvas.js", "view.js", "box_maths.js", "box_drawing.js", "boxes.js")  # of views of boxes
DRAWS = 200  # random layouts behind the band, here and in the view
QUANTILES = (0.05, 0.95)
TAGGED = 100  # boxes: tags of more would hide the image
_EMPTY = (640.0, 480.0)  # size of the ground when neither image nor boxes tell one


class BoxExplorer(ListExplorer):
    """Boxes to drag, resize, add and remove on an image; their correlation matrix, MC and its null band.

    `boxes` are N of x, y, w, h in pixels, (N, 4), or a BoxTable of which the image with index `image` is
    shown, its crowd regions left out as MC leaves them out. `pixels` are the image's, uint8, (H, W),
    (H, W, 3) or (H, W, 4), shrunk to 1000 on the longer side while coordinates stay those of the original;
    `size` is its (width, height) where there are none. `labels` name the boxes, which else go by their index.
    `box_format` says which four numbers are correlated, as in `macroscopic_correlation`.

    The traits `boxes`, `size`, `selected` (an index, -1: none), `labels` and `box_format` can be read and
    set. Boxes are shown as they are given; one that is moved by hand stays inside the image. The band
    answers: what MC (Relation DETR) do as many boxes of the same sizes have, put down at random?

    Raises ValueError for pixels of another kind or an image not in the table, TraitError for bad boxes.
    """

    _esm = joined(*PARTS, "box.js")
    items = "boxes"

    boxes = Rows(
        4,
        "N boxes x, y, w, h in pixels, with finite numbers and w, h > 0",
        lambda boxes: (boxes[:, 2:] <= 0).any(axis=1),
    ).tag(sync=True)
    size = traitlets.Tuple(traitlets.CFloat(), traitlets.CFloat(), default_value=_EMPTY).tag(sync=True)
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    box_format = traitlets.Enum(BOX_FORMATS, "xywh").tag(sync=True)
    png = traitlets.Bytes().tag(sync=True)  # the pixels, encoded; b"": none

    def __init__(
        self,
        boxes: Float[np.ndarray, "N 4"] | BoxTable | None = None,
        image: int = 0,
        pixels: UInt8[np.ndarray, "H W *channels"] | None = None,
        size: tuple[float, float] | None = None,
        labels: Sequence[str] | None = None,
        box_format: str = "xywh",
    ):
        if isinstance(boxes, BoxTable):
            boxes, told = _of_image(boxes, image)
            size = told if size is None else size
        super().__init__(
            boxes=() if boxes is None else boxes,
            labels=[] if labels is None else [str(label) for label in labels],
            box_format=box_format,
            png=b"" if pixels is None else encoded(pixels),
        )
        if size is None:
            size = _extent(self.boxes) if pixels is None else pixels.shape[1::-1]
        self.size = tuple(size)
        self.given = {"boxes": self.boxes, "labels": self.labels}

    @traitlets.validate("size")
    def _positive(self, proposal):
        if not all(0 < side < np.inf for side in proposal.value):
            raise traitlets.TraitError(f"size: expected a width and a height in pixels, not {proposal.value}")
        return proposal.value

    @property
    def _xywh(self) -> Float[np.ndarray, "N 4"]:
        return np.asarray(self.boxes, np.float64).reshape(-1, 4)

    @property
    def _names(self) -> list[str]:
        """What the boxes are called: the beginnings of their labels, or their indices."""
        labels = dict(enumerate(self.labels))
        names = [labels.get(i) or str(i) for i in range(len(self.boxes))]
        return [name if len(name) <= 12 else f"{name[:11]}…" for name in names]

    @property
    def _numbers(self) -> Float[np.ndarray, "N 4"]:
        """The four numbers of each box that are correlated."""
        return {"cxcywh": xywh_to_cxcywh, "xyxy": xywh_to_xyxy}.get(self.box_format, np.asarray)(self._xywh)

    @property
    def _usable(self) -> Float[np.ndarray, "N 4"]:
        """Boxes whose four numbers are not all equal, as x, y, w, h."""
        return self._xywh[unit_profiles(self._numbers)[1]]

    def _mc(self, layouts: list[np.ndarray]) -> Float[np.ndarray, " I"]:
        """MC of each layout of x, y, w, h."""
        image = np.repeat(np.arange(len(layouts)), [len(layout) for layout in layouts])
        sizes = np.tile(self.size, (len(layouts), 1))
        xywh = np.concatenate(layouts)
        table = BoxTable(xywh, image, tuple(range(len(layouts))), sizes, np.zeros_like(image), {0: "box"})
        return macroscopic_correlation(table, self.box_format, report={})

    @property
    def correlation(self) -> float:
        """MC of the boxes as they are now; NaN where fewer than two have a correlation."""
        return float(self._mc([self._usable])[0])

    @cached_property
    def band(self) -> tuple[float, float]:
        """5 and 95 % quantile of MC of as many random boxes of the same sizes; NaN for fewer than two."""
        boxes = self._usable
        if len(boxes) < 2:
            return (float("nan"), float("nan"))
        draws = [uniform_boxes(boxes[:, 2:], self.size, seed=0, draw=draw) for draw in range(DRAWS)]
        low, high = np.nanquantile(self._mc(draws), QUANTILES)
        return (float(low), float(high))

    @traitlets.observe("boxes", "size", "box_format")
    def _forget(self, change):
        self.__dict__.pop("band", None)

    def _draw(self, figure: Figure) -> None:
        """Boxes on their image, the matrix of their correlations, and MC on its axis with the band."""
        names = self._names
        figure.set_figheight(4.2)
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)  # inches; tick labels of neighbours met
        grid = figure.add_gridspec(2, 2, width_ratios=(1.3, 1), height_ratios=(4.6, 1))
        usable = unit_profiles(self._numbers)[1]
        picture = figure.add_subplot(grid[:, 0] if usable.sum() > 1 else grid[:, :])
        tags = names if len(names) <= TAGGED else None
        self._draw_boxes(picture, self._xywh, color=PALETTE["sky"], labels=tags)
        for outline in np.array(picture.patches)[~usable]:
            outline.set_linestyle(DASHED)  # it has no correlation
        if usable.sum() > 1:
            self._draw_matrix(figure.add_subplot(grid[0, 1]), names)
            self._draw_scale(figure.add_subplot(grid[1, 1]))
        else:
            picture.set_title("MC needs two boxes")
        place_tags(picture)

    def _draw_boxes(self, axes: Axes, xywh: Float[np.ndarray, "N 4"], **marks) -> None:
        """Boxes on their image, thinner where they are many; marks: color and labels, as of `boxes_on`."""
        marks["linewidth"] = 1.4 if len(xywh) <= TAGGED else 0.7
        boxes_on(axes, xywh, self.size, decoded(self.png), **marks)
        axes.set(facecolor="#f1f3f5", xlabel="{:g} × {:g} pixels".format(*self.size))

    def _draw_matrix(self, axes: Axes, names: Sequence[str]) -> None:
        """Correlation of each pair, with its number where there is room for it."""
        axes.set_title("Pearson correlation")
        n = len(names)
        rho = np.where(np.eye(n, dtype=bool), np.nan, pearson(self._numbers))  # the diagonal is no pair
        shown = matrix(axes, rho, 1, diverging=True, digits=2 if n <= 6 else 1 if n <= 9 else None)
        name_columns(axes, names)
        step = -(-n // 12)  # names of more rows would touch
        axes.set_yticks(range(0, n, step), [name[:8] for name in names[::step]])
        axes.figure.colorbar(shown, ax=axes, ticks=(-1, 0, 1), shrink=0.9)

    def _draw_scale(self, axes: Axes) -> None:
        """MC between 0 and 1, with the band of random boxes, the level of chance and the lower bound."""
        axes.set(xlim=(0, 1), ylim=(0, 1), yticks=[])
        axes.set_xticks((0, 0.25, 0.5, 0.75, 1), ("0", "0.25", "0.5", "0.75", "1"))
        axes.grid(False)
        axes.spines["left"].set_visible(False)
        axes.axvline(0.5, color=PALETTE["grey"], linestyle=":", linewidth=1.2)
        mc, (low, high), usable = self.correlation, self.band, len(self._usable)
        axes.plot(mc, 0.4, "o", color=PALETTE["vermilion"], markersize=7, clip_on=False)
        axes.axvspan(low, high, ymax=0.8, color=PALETTE["blue"], alpha=0.3, linewidth=0)
        notes = [f"band: random boxes, {low:.2f} to {high:.2f}"]
        if usable > 3:
            least = (usable - 3) / (3 * (usable - 1))
            axes.axvline(least, ymax=0.45, color="black", linewidth=1.2)
            notes.append(f"line: no MC below {least:.2f}")
        axes.set_title(f"MC {mc:.3f}")
        axes.set_xlabel("\n".join([*notes, "dotted: 0.5, chance level"]), fontsize=7)

    def summary(self) -> str:
        """How many boxes, their MC and the band, in one sentence."""
        boxes = f"{len(self.boxes)} box{'' if len(self.boxes) == 1 else 'es'}"
        usable = len(self._usable)
        left_out = len(self.boxes) - usable
        if left_out:
            boxes += f" ({left_out} left out of MC: four equal numbers)"
        if usable < 2:
            return f"Box explorer: {boxes}; MC needs two boxes"
        low, high = self.band
        random = f"5 to 95 % of random boxes: {low:.2f} to {high:.2f}"
        return f"Box explorer: {boxes}, MC {self.correlation:.2f} ({random})"


def name_columns(axes: Axes, names: Sequence[str]) -> None:
    """Names below columns of a matrix that is two inches wide, as many as do not touch."""
    names = [name[:8] for name in names]
    widest = max(len(name.encode()) for name in names)  # a letter as wide as two has three bytes
    step = -(-len(names) * (widest + 1) // 36)
    axes.set_xticks(range(0, len(names), step), names[::step])


def _of_image(table: BoxTable, image: int) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Boxes of one image of a table, crowd regions left out, and the image's size where it is known."""
    if not 0 <= image < len(table.image_ids):
        raise ValueError(f"image must be an index of the table's {len(table.image_ids)} images, not {image}")
    here = table.image == image
    if crowd := int((here & table.crowd).sum()):
        where = f"image {table.image_ids[image]!r}"
        warnings.warn(BoxWarning(f"{where}: {crowd} crowd regions are left out, as in MC"), stacklevel=3)
    size = table.sizes[image]
    return table.xywh[here & ~table.crowd], tuple(size) if np.isfinite(size).all() else None


def _extent(boxes: list[list[float]]) -> tuple[float, float]:
    """The smallest whole size that holds all boxes."""
    if not boxes:
        return _EMPTY
    corner = np.ceil(xywh_to_xyxy(np.asarray(boxes))[:, 2:].max(axis=0))
    return tuple(np.maximum(corner, 1.0).tolist())
