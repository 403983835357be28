"""Points in the plane that can be moved, the Rips complex that grows around them, and its bars."""

from __future__ import annotations

import math

import numpy as np
import traitlets
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from scipy.spatial.distance import cdist

from marginalia import plots, style, topology

from .base import ListExplorer, Rows, joined

IN_BROWSER = 40  # points of which the view finds loops itself
MOST = 200  # points
NODES = 20  # of the persistence image, along birth and along persistence
STEPS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)  # round ends of axes, times a power of ten


class RipsExplorer(ListExplorer):
    """Points to draw and drag, and the Vietoris-Rips complex around them: its barcode, diagram and image.

    `points` are N places in the plane, (N, 2), at most 200; by default a noisy circle beside a cluster.
    `length` is where the filtration stands: edges up to that length are there, and balls have half of it as
    radius; by default soon after the most persistent loop was born. `dimension`, 0 or 1, is that of the
    persistence image: 20 x 20 nodes from 0 to the end of the axes, a bandwidth of a twentieth of that,
    persistence as weight.

    These and `selected` (an index, -1: none) can be read and set, and so can `window`, the part of the plane
    that is shown (lowest and highest x, lowest and highest y); it follows points that lie outside. Bars are
    those of `marginalia.topology.diagrams`. The view finds the loops of up to 40 points itself and asks
    Python for those of more, so that a saved page knows only those of the points it was saved with.

    Raises TraitError for points that are not (N, 2), not finite or too many, a negative length, and a
    selected point that is not there.
    """

    _esm = joined("canvas.js", "view.js", "rips_maths.js", "rips_drawing.js", "rips.js")
    items = "points"

    points = Rows(
        2,
        f"at most {MOST} points x, y with finite numbers",
        lambda points: np.arange(len(points)) >= MOST,
    ).tag(sync=True)
    length = traitlets.CFloat().tag(sync=True)
    dimension = traitlets.Enum((0, 1), 1).tag(sync=True)
    window = traitlets.Tuple(*[traitlets.CFloat()] * 4, default_value=(0, 1, 0, 1)).tag(sync=True)
    answer = traitlets.Dict().tag(sync=True)  # for the view: the loops of more points than it does itself

    def __init__(
        self, points: Float[np.ndarray, "N 2"] | None = None, length: float | None = None, dimension: int = 1
    ):
        super().__init__(points=_circle_and_cluster() if points is None else points, dimension=dimension)
        self.window = _window(self._cloud)
        if length is None:
            birth, death = max(self.bars[1], key=np.ptp, default=(self._end / 4, self._end / 4))
            length = birth + 0.25 * (death - birth)
        self.length = length
        self.given = {"points": self.points, "length": self.length, "dimension": dimension}

    @traitlets.validate("length")
    def _not_negative(self, proposal):
        if not 0 <= proposal.value < np.inf:
            raise traitlets.TraitError(f"length: expected 0 or more, not {proposal.value}")
        return proposal.value

    @traitlets.validate("window")
    def _ascending(self, proposal):
        left, right, low, high = proposal.value
        if not (left < right and low < high and np.isfinite(proposal.value).all()):
            raise traitlets.TraitError(f"window: expected x from, to, y from, to, not {proposal.value}")
        return proposal.value

    @traitlets.observe("points")
    def _follow(self, change):
        cloud = self._cloud
        left, right, low, high = self.window
        if ((cloud < (left, low)) | (cloud > (right, high))).any():
            self.window = _window(cloud)
        if len(cloud) > IN_BROWSER:
            self.answer = {"points": change.new, "bars": self.bars[1].tolist()}

    @property
    def _cloud(self) -> Float[np.ndarray, "N 2"]:
        return np.asarray(self.points, np.float64).reshape(-1, 2)

    @property
    def bars(self) -> tuple[Float[np.ndarray, "m 2"], Float[np.ndarray, "m 2"]]:
        """Births and deaths of dimension 0 and of dimension 1, of the points as they are now."""
        return topology.diagrams([self._cloud])[0]  # torch is loaded now, not before

    @property
    def _end(self) -> float:
        """End of all axes: a round number a little beyond the last death; 1 where nothing dies."""
        bars = np.concatenate(self.bars)
        most = 1.05 * bars[np.isfinite(bars)].max(initial=0)
        if not most:
            return 1.0
        unit = 10.0 ** math.floor(math.log10(most))
        return next(step * unit for step in STEPS if step * unit >= most)

    @property
    def image(self) -> Float[np.ndarray, "r_p r_b"]:
        """Persistence image of `dimension` as the view shows it: rows by persistence, columns by birth."""
        end = self._end
        return topology.persistence_image(
            self.bars[self.dimension], end / NODES, (0, end, 0, end), (NODES, NODES)
        )

    @property
    def _adjacency(self) -> Bool[np.ndarray, "N N"]:
        """Which pairs of points have an edge."""
        cloud = self._cloud
        return (cdist(cloud, cloud) <= self.length) & ~np.eye(len(cloud), dtype=bool)

    def summary(self) -> str:
        """How many points, edges, triangles, components and loops, in one sentence."""
        adjacency = self._adjacency.astype(int)
        edges, triangles = adjacency.sum() // 2, np.trace(adjacency @ adjacency @ adjacency) // 6
        components, loops = (
            ((b <= self.length) & (self.length < d)).sum() for b, d in (k.T for k in self.bars)
        )
        counts = {"edge": edges, "triangle": triangles, "component": components, "loop": loops}
        told = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items())
        points = f"{len(self.points)} point{'' if len(self.points) == 1 else 's'}"
        return f"Rips explorer: {points}; edges up to {self.length:.3g} (balls of half that radius): {told}"

    def _draw(self, figure: Figure) -> None:
        """The cloud with balls, edges and triangles at `length`; barcode, diagram and persistence image."""
        end, bars = self._end, self.bars
        figure.set_figheight(4.8)
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)  # inches
        if not self.points:
            self._draw_cloud(figure.subplots())
            return
        (cloud, barcode), (diagram, image) = figure.subplots(2, 2, height_ratios=(1.2, 1))
        self._draw_cloud(cloud)
        plots.barcode(barcode, bars, end)
        barcode.set(title="Barcode", xlabel="length (twice the radius of the balls)")
        barcode.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)
        plots.persistence_diagram(diagram, bars, end)
        diagram.set_title("Persistence diagram")
        for axes in (barcode, diagram):
            axes.axvline(self.length, color="black", linewidth=1)
        pixels = self.image
        shown = plots.persistence_image(image, pixels, (0, end, 0, end), vmax=pixels.max() or 1)
        image.set_title(f"Persistence image of H{self.dimension}{'' if pixels.any() else ': no finite bars'}")
        figure.colorbar(shown, ax=image)

    def _draw_cloud(self, axes: Axes) -> None:
        cloud, adjacency = self._cloud, self._adjacency
        edges = np.argwhere(np.triu(adjacency))
        ball = Path.circle(radius=self.length / 2).vertices
        rounds = [Path(ball + point, Path.circle().codes) for point in cloud]
        triangles = [Path(cloud[[*corners, corners[0]]], closed=True) for corners in _covering(cloud, edges)]
        for paths, color, alpha in (
            (rounds, style.PALETTE["blue"], 0.15),
            (triangles, style.PALETTE["grey"], 0.4),
        ):
            if paths:  # all in one, so that they are equally dark where they overlap
                path = Path.make_compound_path(*paths)
                axes.add_patch(PathPatch(path, color=color, alpha=alpha, linewidth=0))
        axes.add_collection(LineCollection(cloud[edges], color=style.PALETTE["grey"], linewidth=0.7))
        axes.plot(*cloud.T, "o", color="black", markersize=3)
        axes.set(xlim=self.window[:2], ylim=self.window[2:], aspect="equal", ylabel="y")
        axes.set_title(f"Edges up to {self.length:.3g}" if len(cloud) else "No points")
        axes.set_xlabel(f"x (balls of radius {self.length / 2:.3g})")


def _covering(cloud: Float[np.ndarray, "N 2"], edges: Int[np.ndarray, "E 2"]) -> list[tuple[int, int, int]]:
    """Triangles, counter-clockwise, that cover what all of the complex cover; why is in rips_maths.js."""
    distances = cdist(cloud, cloud)
    found = []
    for i, j in (turned for edge in edges for turned in (edge, edge[::-1])):
        to_i, to_j = cloud[i] - cloud, cloud[j] - cloud
        cross = to_i[:, 0] * to_j[:, 1] - to_i[:, 1] * to_j[:, 0]  # above 0 on the left of the edge
        left = np.flatnonzero((np.maximum(distances[i], distances[j]) <= distances[i, j]) & (cross > 0))
        found += [(i, j, k) for k in left[:1]]
    return found


def _circle_and_cluster() -> Float[np.ndarray, "36 2"]:
    """24 points near a circle of radius 1, and 12 in a cluster beside it."""
    rng = np.random.default_rng(0)
    angle = 2 * np.pi * (np.arange(24) + rng.uniform(-0.3, 0.3, 24)) / 24
    circle = np.stack([np.cos(angle), np.sin(angle)], 1) + rng.normal(0, 0.07, (24, 2))
    return np.concatenate([circle, rng.normal((2.2, 0), 0.25, (12, 2))]).round(3)


def _window(cloud: Float[np.ndarray, "N 2"]) -> tuple[float, float, float, float]:
    """The cloud with a margin around it, nowhere narrower than two thirds of its longer side."""
    if not len(cloud):
        return (-1.0, 1.0, -1.0, 1.0)
    middle, span = (cloud.min(0) + cloud.max(0)) / 2, np.ptp(cloud, axis=0)
    longest = span.max() or 2.0
    half = np.maximum(span, longest * 2 / 3) / 2 + 0.15 * longest
    return tuple(np.stack([middle - half, middle + half], 1).ravel().tolist())
