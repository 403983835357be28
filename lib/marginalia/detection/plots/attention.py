"""Attention maps laid over the picture: Conditional DETR's Figures 1 and 4, and DAB-DETR's Figure 4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from ...style import PALETTE, WIDTH
from .. import heads, runs
from ..capture import CapturedAttention, capture_attention, crop_to_valid
from ..loading import load, prepare
from ..matching import gather_targets
from ..scenes import make_scenes, scene_at
from .convergence import NAMES

MODELS = ("headline-conditional-0", "headline-detr-0", "long-detr-0")  # the rows of Figure 1
SCENE = 5  # validation scene of the pictures here
THINGS = (1, 2)  # objects of that scene, the first where there is one only
SHARP = 256  # pixels a side at which a scene is drawn; the models see 64
STEP = 24  # between the grey levels of what is drawn, of 256
HUES = (PALETTE["vermilion"], PALETTE["blue"])  # of the first and the second object
KINDS = ("spatial", "content", "combined")
SURE = 0.5  # score from which a query of a reader's own picture counts
BARE = {"xticks": [], "yticks": [], "xlim": (0, 1), "ylim": (1, 0)}


@dataclass(frozen=True)
class View:
    """One picture, what a model attends to on it, and the queries that found something."""

    title: str
    picture: UInt8[np.ndarray, "S S *channels"]
    captured: CapturedAttention  # of this one picture, without padding
    boxes: Float[np.ndarray, "N 4"]  # (cx, cy, w, h) in [0, 1]: the true ones, or the predicted ones
    queries: Int[np.ndarray, " N"]  # the query of each box; -1: not found
    summary: pd.DataFrame  # what the heads watch, as `heads.summarise`


def title_of(name: str) -> str:
    """What a figure calls one of our runs."""
    run = runs.RUNS[name]
    return f"{NAMES[run.detector.kind]}\n{run.options.steps:,} steps"


def drawn_scene(index: int) -> UInt8[np.ndarray, "S S"]:
    """A validation scene for the eye, in few grey levels: fine texture would fill a notebook's file."""
    pixels = scene_at(index, split="val", side=SHARP).pixels[0]
    return pixels // STEP * STEP + STEP // 2


def open_view(name: str, scene: int = SCENE) -> View:
    """A model trained here on one validation scene; what its heads watch was measured with `make train`."""
    run, model = runs.RUNS[name], load(name)
    scenes = make_scenes(1, run.layout, "val", side=run.side, digits=run.digits, first=scene)
    pixels, targets = torch.from_numpy(scenes.pixels), gather_targets(scenes.boxes, scenes.labels)
    pairs = heads.found_by(model, pixels, targets)
    queries = np.full(len(targets.boxes), -1)
    queries[pairs.box.numpy()] = pairs.query.numpy()
    table = runs.head_histories([name])
    table = table[(table["step"] == run.options.steps) & (table["map"] == "spatial")]
    captured = capture_attention(model, pixels)
    return View(title_of(name), drawn_scene(scene), captured, targets.boxes.numpy(), queries, table)


def open_checkpoint(checkpoint: str, picture: str, side: int | None = 480) -> View:
    """A published checkpoint, by folder or hub name, on a reader's picture file.

    side: length of the picture's shorter side in pixels, None for the checkpoint's own. The boxes are those
    of the queries with a score of at least 0.5, or of the best one; each head is named by its peaks beside
    these boxes, so a picture with many objects tells more. Errors as `load`, and those of Pillow.
    """
    from PIL import Image

    model = load(checkpoint)
    with Image.open(picture) as file:
        image = file.convert("RGB")
    captured = crop_to_valid(capture_attention(model, *prepare(model, [image], side)), 0)
    found = captured.queries
    order = found.scores[0].argsort(descending=True)
    sure = order[: max(int((found.scores[0] >= SURE).sum()), 1)]
    maps = captured.spatial[:, 0][:, :, sure]  # (L, H, N, h, w)
    looks = heads.Looks(
        found.boxes[0, sure], heads.peak_positions(maps), heads.map_widths(maps), heads.map_entropy(maps)
    )
    summary = heads.summarise(looks, least=1)
    shown = np.asarray(image)
    return View(str(checkpoint), shown, captured, found.boxes[0, sure].numpy(), sure.numpy(), summary)


def _views(data: str | Sequence | None, names: Sequence[str], scene: int) -> list[View]:
    """Our models, or a reader's 'checkpoint,picture'."""
    if data is None or (not isinstance(data, str) and not any(data)):
        return [open_view(name, scene) for name in names]
    parts = [part.strip() for part in data.split(",")] if isinstance(data, str) else list(data)
    if len(parts) != 2 or not all(parts):
        raise ValueError(f"data must be 'checkpoint,picture', a folder or hub name and a file, not {data!r}")
    return [open_checkpoint(*parts)]


def overlay(
    panel: Axes, picture: UInt8[np.ndarray, "S S *channels"], weights: Float[Tensor, "h w"], hue: str
) -> None:
    """The picture, paled, under a tint of one hue whose opacity follows the weight, from even to highest.

    Weights up to an even spread, 1 / (h w), leave the picture as it is: else a diffuse map would hide it.
    Cell j covers [j, j + 1] / w of the picture; between cells the weights are interpolated.
    """
    from skimage.transform import resize

    grey = picture if picture.ndim == 2 else picture[..., :3].mean(-1)
    size = picture.shape[:2]
    fine = resize(weights.double().numpy(), size, order=1, mode="edge")  # keeps cells where they are
    pale(panel, grey)
    tint = np.empty((*size, 4))
    above = (fine - 1 / weights.numel()).clip(0)
    tint[..., :3], tint[..., 3] = to_rgb(hue), 0.9 * above / max(above.max(), 1e-12)
    panel.imshow(tint, extent=(0, 1, 1, 0), aspect="auto", interpolation="bilinear")
    panel.set(**BARE, box_aspect=size[0] / size[1])
    panel.grid(False)
    for spine in panel.spines.values():
        spine.set_visible(False)


def pale(panel: Axes, grey: np.ndarray) -> None:
    """Grey levels as a pale picture on the unit square."""
    panel.imshow(0.35 * 255 + 0.6 * grey, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0), aspect="auto")


def outline(panel: Axes, box: Float[np.ndarray, " 4"], colour: str, **style) -> None:
    """A box (cx, cy, w, h) as a frame."""
    cx, cy, w, h = box
    frame = {"fill": False, "ec": colour, "lw": 1.4, **style}
    panel.add_patch(Rectangle((cx - w / 2, cy - h / 2), w, h, **frame))


def _numbers(view: View, head: pd.Series, kind: str, query: int, box: Float[np.ndarray, " 4"]) -> dict:
    """What the data of a figure says of one map."""
    weights = getattr(view.captured, kind)[int(head["layer"]), 0, int(head["head"]), query]
    x, y = ((heads.peak_positions(weights).numpy() - box[:2]) / (box[2:] / 2)).round(3)
    told = {"model": view.title.replace("\n", ", "), "map": kind, "query": int(query)}
    told |= {"layer": int(head["layer"]), "head": int(head["head"]), "named": bool(head["named"])}
    return told | {"x": x, "y": y, "entropy": round(heads.map_entropy(weights).item(), 3)}


def _late(view: View) -> pd.DataFrame:
    """The heads of the last two layers: the paper does not say which layer its figures show."""
    return view.summary[view.summary["layer"] > view.summary["layer"].max() - 2]


def spatial_attention_maps(
    data: str | Sequence | None = None, scene: int = SCENE, thing: int | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Conditional DETR Figure 1: spatial attention of the heads nearest to each side, a row a model.

    One object of one picture, framed; the columns are the heads that watch its left, top, right and bottom,
    by their medians over many objects. A head's label in brackets: it is the nearest, but does not keep to
    that side. data: 'checkpoint,picture' for a reader's own. Spatial attention of DETR is (o_q + c_q) against
    positions only (section 3.4).
    """
    views = _views(data, MODELS, scene)
    thing = (0 if data else THINGS[0]) if thing is None else thing
    sides = ("left", "top", "right", "bottom")
    size = (WIDTH["page"], 0.3 + 1.68 * len(views))
    figure, panels = plt.subplots(len(views), 4, figsize=size, squeeze=False)
    rows = []
    for line, view in zip(panels, views, strict=True):
        chosen, box, query = heads.heads_by_side(_late(view)), view.boxes[thing], view.queries[thing]
        for panel, side in zip(line, sides, strict=True):
            head = chosen.loc[side]
            weights = view.captured.spatial[int(head["layer"]), 0, int(head["head"]), query]
            overlay(panel, view.picture, weights, HUES[0])
            outline(panel, box, "#00A86B")
            panel.set_xlabel(f"{_label(head)}: {_times_flat(weights)}", fontsize=7, labelpad=2)
            rows.append({"watches": side, **_numbers(view, head, "spatial", query, box)})
        line[0].set_ylabel(view.title, fontsize=8)
    for panel, side in zip(panels[0], sides, strict=True):
        panel.set_title(side, loc="center")
    return figure, pd.DataFrame(rows)


def _label(head: pd.Series) -> str:
    told = f"layer {int(head['layer'])}, head {int(head['head'])}"
    return told if head["named"] else f"({told})"


def _times_flat(weights: Float[Tensor, "h w"]) -> str:
    """The highest weight beside that of an even spread."""
    return f"{weights.max().item() * weights.numel():.0f}x even"


def attention_decomposition(
    data: str | Sequence | None = None,
    name: str = MODELS[0],
    scene: int = SCENE,
    things: Sequence[int] | None = None,
) -> tuple[Figure, pd.DataFrame]:
    """Conditional DETR Figure 4: spatial, content and combined attention of five heads for two objects.

    The rows are the kinds; each object has its hue and the five heads that watch left, top, right, bottom and
    inside. Every panel is scaled by its own maximum. data: 'checkpoint,picture' for a reader's own picture,
    on which the two surest queries are shown.
    """
    view = _views(data, [name], scene)[0]
    shown = things or (THINGS if data is None else (0, 1))
    things = [thing for thing in shown if thing < len(view.boxes)]
    chosen = heads.heads_by_side(_late(view))
    figure, panels = plt.subplots(
        3, 5 * len(things), figsize=(WIDTH["page"], 2.75), squeeze=False, layout="constrained"
    )
    rows = []
    for block, thing in enumerate(things):
        box, query, hue = view.boxes[thing], view.queries[thing], HUES[block]
        for column, (side, head) in enumerate(chosen.iterrows()):
            for panel, kind in zip(panels[:, 5 * block + column], KINDS, strict=True):
                maps = getattr(view.captured, kind)
                overlay(panel, view.picture, maps[int(head["layer"]), 0, int(head["head"]), query], hue)
                outline(panel, box, hue, lw=1.1)
                rows.append({"object": thing, "watches": side, **_numbers(view, head, kind, query, box)})
            panels[0, 5 * block + column].set_title(
                side if head["named"] else f"({side})", loc="center", fontsize=7.5, pad=3
            )
            told = f"layer {int(head['layer'])}\nhead {int(head['head'])}"
            panels[2, 5 * block + column].set_xlabel(told, fontsize=6.5, labelpad=2)
    for panel, kind in zip(panels[:, 0], KINDS, strict=True):
        panel.set_ylabel(kind, fontsize=8)
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.0, hspace=0.0)
    return figure, pd.DataFrame(rows)


def product_of_maps(
    name: str = MODELS[0], scene: int = SCENE, thing: int = THINGS[0]
) -> tuple[Figure, pd.DataFrame]:
    """Of the steadiest head at the top: content map times spatial map is, normalised, the combined map."""
    view = open_view(name, scene)
    first = heads.heads_by_side(_late(view)).loc["top"]
    layer, number = int(first["layer"]), int(first["head"])
    maps = {kind: getattr(view.captured, kind)[layer, 0, number, view.queries[thing]] for kind in KINDS}
    figure, panels = plt.subplots(1, 3, figsize=(WIDTH["page"], 2.5))
    for panel, kind, sign in zip(panels, ("content", "spatial", "combined"), ("", "×", "∝"), strict=True):
        overlay(panel, view.picture, maps[kind], HUES[0])
        outline(panel, view.boxes[thing], HUES[0])
        panel.set_title(f"{kind}, layer {layer}, head {number}", loc="center")
        panel.set_xlabel(f"highest weight {maps[kind].max():.3f} = {_times_flat(maps[kind])}")
        if sign:
            panel.text(-0.11, 0.5, sign, transform=panel.transAxes, ha="center", va="center", fontsize=18)
    cells = pd.DataFrame({kind: weights.flatten().tolist() for kind, weights in maps.items()})
    return figure, cells.rename_axis("cell").reset_index()
