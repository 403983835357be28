# %% [markdown]
# # Attention maps of queries
#
# **Where does each head of a detector look, and is it where the paper says?**
#
# Paper: Conditional DETR (ICCV 2021), Figures 1 and 4. About one minute on two CPU cores.
#
# **中文摘要。** 检测器的每个注意力头到底在看哪里？本笔记用在本仓库中训练好的小模型重画 Conditional DETR 的图 4（空间、内容，以及二者相乘并归一化后得到的实际注意力）和图 1（空间注意力）：先用真实的血细胞显微照片，再用 64×64 像素的手写数字场景。
# 随后把“每个头各盯住物体的一条边”这一观察量化：对数百个物体和三个随机种子，统计注意力峰值相对于框中心的位置（以框的半宽、半高为单位）及其四分位距，以及注意力图的宽度，并与把框在物体之间置换的对照比较，红细胞与白细胞分开统计；再看这些位置在训练过程中如何形成。
# 结果：在数字上，多数头盯住框内靠边的小区域；在圆形、相互重叠的细胞上，约一半的头看物体内部的小块，其余的头停在照片边缘，基本不区分物体。两种数据上，物体处都没有论文里贯穿整条边的长条。最后，读者可以换用公开的预训练权重，或用自己的照片训练的模型。
#
# ## What you will see
#
# 1. One head: content times spatial is what the model attends with.
# 2. The paper's Figures 4 and 1 with models trained here, on a photograph and on digits.
# 3. From one image to a statistic: where heads look, over hundreds of objects and three seeds; sides, regions or bands?
# 4. How that changes in training.
# 5. A published checkpoint or your own model and image; a panel to explore.
#
# You need to know how the conditional query is made: [11_conditional_cross_attention](11_conditional_cross_attention.ipynb).

# %%
import itertools

import numpy as np
import pandas as pd
import torch
from IPython.display import display
from matplotlib.patches import Rectangle

import marginalia
from marginalia import figures, plots, style
from marginalia.detection import cell_scenes, heads, load
from marginalia.exercises import check, check_function
from marginalia.explorers import AttentionExplorer
from marginalia.figures import conditional_detr, runs

style.use_style()
torch.set_num_threads(1)
CONDITIONAL = "cells-conditional-0"
SIDES = ["left", "right", "top", "bottom"]

# %% tags=["parameters"]
FAST = True  # nothing here is slow
RETRAIN = False  # nothing is trained in this notebook; 13_convergence has the runs
PHOTOGRAPH = 58  # which of the 72 test photographs sections 1 to 3 show
CHECKPOINT = None  # a folder, a .safetensors file of `make train DATA=...` or a hub name; None: ours
IMAGE = None  # your image for it, a file
EXPLORED = "cells-conditional-0"  # the model in the panel at the end

# %% [markdown]
# ## 1. One head, one object
#
# **Claim.** In Conditional DETR a head's attention is the product of two maps, one about *what* and one about *where*.
#
# With content query $c_q$ and key $c_k$, spatial query $p_q$ and key $p_k$ (all projected, $D$ channels a head), the weight of cell $k$ is
#
# $$a_k \;\propto\; \exp\!\Big(\tfrac{c_q^\top c_k + p_q^\top p_k}{\sqrt{2D}}\Big) \;=\; \underbrace{\exp\!\Big(\tfrac{c_q^\top c_k}{\sqrt{2D}}\Big)}_{\text{content}} \cdot \underbrace{\exp\!\Big(\tfrac{p_q^\top p_k}{\sqrt{2D}}\Big)}_{\text{spatial}}.$$
#
# Logits add, so maps multiply. The image is a photograph of blood through a microscope (BCCD, 160 x 120 pixels) that the model never saw: many pale red cells and one white cell, large and dark. The query is the one that found a red cell.
#
# **Predict.** The content map alone: does it know *which* red cell this query is about?

# %%
OWN = conditional_detr.open_checkpoint(f"{CHECKPOINT},{IMAGE}") if CHECKPOINT else None
view = OWN or conditional_detr.open_view(CONDITIONAL, PHOTOGRAPH)
thing = 0
head = heads.heads_by_side(view.summary).loc["inside"]
figure, axes = plots.panels(3, 3, 1.9)
for panel, kind in zip(axes, ("content", "spatial", "combined"), strict=True):
    conditional_detr.draw_map(panel, view, head, kind, thing, style.CYCLE[1])
    panel.set_title(f"{kind}, layer {head['layer']:.0f}, head {head['head']:.0f}", loc="center")
plots.joined(axes, "×∝")
place = int(head["layer"]), 0, int(head["head"]), view.queries[thing]
maps = {kind: getattr(view.captured, kind)[place].flatten().tolist() for kind in conditional_detr.KINDS}
data = pd.DataFrame(maps).rename_axis("cell").reset_index()
figures.save(figure, "extra/attention-product", data)
product = data["content"] * data["spatial"]
assert np.allclose(data["combined"], product / product.sum(), atol=5e-6)  # normalised, it is the attention
print("(layers, images, heads, queries, h, w):", tuple(view.captured.combined.shape))
print("content logits of each layer:", view.captured.content_terms)
figure

# %% [markdown]
# **Notice.** The content map does not know which red cell the query is about. It lights up red cells all over the photograph, and weakly: its highest weight is a few times that of a uniform distribution. The spatial map is a spot in the one cell. Their product is nearly the spatial map: in this head the place
# decides. In all such figures the tint of a panel goes from the uniform weight (nothing) to the panel's own highest weight, so compare colours within a panel, and between panels the multiple of the uniform weight in the corner.
#
# All maps come from one call, `capture_attention`, which works for the models here and for those of the Hugging Face library transformers. `combined` is the weight that the model attends with; that it is the one transformers reports is tested to $10^{-6}$.
#
# The first layer's content part also holds the object query and the key positional encoding, because there is no decoder content yet. Its "content" map is therefore
# not about content alone, and we leave the first layer out of what follows unless we say so.
#
# With `CHECKPOINT` and `IMAGE` set, the photographs' figures of sections 1 to 3, the statistic and the panel of section 6 are of your model and your image. The sentences are about ours.
#
# ## 2. Figure 4: spatial, content, combined
#
# The paper shows five of eight heads for two objects: left, top, right, bottom and inside. Which head does which differs from one training to the next, so heads must be *found*: we take
# those that specialise in a side over hundreds of red cells (section 4), from the last two layers. The paper does not say which layer it shows. The two objects are the white cell and a red one.
#
# **Predict.** Does a head keep its side, from a cell to one twice as large and of another kind?

# %%
figure, data = conditional_detr.attention_decomposition(OWN, "cells", PHOTOGRAPH)
figures.save(figure, "conditional-detr/attention-decomposition", data)
figure

# %% [markdown]
# Drawn by [`figures.conditional_detr.attention_decomposition`](../lib/marginalia/figures/conditional_detr.py).
#
# **Notice.** The spatial maps of these heads are spots, inside the white cell as inside the red one, each about where it is in the other. A name in brackets means that no head specialises in that side in this model, and the nearest is shown: here all but "inside" are in brackets. Content maps are about the kind of thing, not about the one that is meant:
# red cells everywhere, or the white cell, also for the query of the red one (second row), whose combined map is then drawn to it. Elsewhere the combined map is close to the spatial one.
#
# What differs from the paper: there the spatial maps are *bands* along a whole side. Bands would be possible: a head's spatial map is a product of a curve in $x$ and one in $y$ (section 6 of [11](11_conditional_cross_attention.ipynb)), and a band is one with a flat curve.
#
# The same on a scene of handwritten digits, with a detector of 64-pixel images (16 x 16 cells of the map; the photographs have 20 x 15). **Predict**: do heads find sides there?

# %%
figure, data = conditional_detr.attention_decomposition(group="headline")
figures.save(figure, "extra/attention-decomposition-digits", data)
groups = {group: runs.head_histories(runs.run_names(group)) for group in ("cells", "headline")}
groups["cells"] = groups["cells"].query("category == 'red cell'")
measured = {group: runs.at_the_end(frame) for group, frame in groups.items()}
for group, frame in measured.items():
    entropy = frame[(frame["kind"] == "conditional") & (frame["layer"] > 0)]
    entropy = entropy.pivot(index=["seed", "layer", "head"], columns="map", values="entropy")
    assert len(entropy) == 36 and (entropy["content"] > entropy["spatial"]).all()  # all heads, all seeds
    print(group, "median entropy over objects [nats], median of 36 heads:", entropy.median().round(2).to_dict())
figure

# %% [markdown]
# Drawn by [`figures.conditional_detr.attention_decomposition`](../lib/marginalia/figures/conditional_detr.py).
#
# **Notice.** On digits they do, in part: spots a little within the box, two of this training's heads at the right and none at the left. Content maps are spread over digits everywhere, or even over the ground between them. That content is spread wider than place holds beyond the two images: in all 36 late heads (three seeds) on digits, and in all 36 on cells; the printed entropies are medians over objects.
#
# ## 3. Figure 1: the same heads in DETR
#
# DETR has no spatial query. The paper compares with $(c_q + o_q)^\top p_k$: the full query against positions only. The third row is the same DETR trained ten times as long, as in
# the paper (50 and 500 epochs there). On photographs DETR has a smaller learning rate, at which it learns ([13_convergence](13_convergence.ipynb)).
#
# **Predict.** Which row looks like the first one: DETR after the same number of steps, or after ten times as many?

# %%
figure, data = conditional_detr.spatial_attention_maps(OWN, "cells", PHOTOGRAPH)
figures.save(figure, "conditional-detr/spatial-attention-maps", data)
figure

# %% [markdown]
# Drawn by [`figures.conditional_detr.spatial_attention_maps`](../lib/marginalia/figures/conditional_detr.py).
#
# **Notice.** DETR's maps after 2,400 steps are clouds that cover much of the photograph; it finds white cells by then, and hardly a red one. After ten times the steps it detects as well as Conditional DETR ([13_convergence](13_convergence.ipynb)), and most of its heads are still clouds: in the paper the third row resembles the first, here it does not.
#
# And on digits, after 1,500 and 15,000 steps, from a backbone that knew digits. **Predict** again.

# %%
figure, data = conditional_detr.spatial_attention_maps(group="headline")
figures.save(figure, "extra/spatial-attention-maps-digits", data)
figure

# %% [markdown]
# Drawn by [`figures.conditional_detr.spatial_attention_maps`](../lib/marginalia/figures/conditional_detr.py).
#
# **Notice.** Neither row of DETR looks like Conditional DETR's. Conditional DETR's spots are small and lie at the six or inside it, each towards its side. DETR's are clouds, some of them beside the object, and ten times the training makes them smaller, but not small: in the paper the third row resembles the first, here it does not. One object is an anecdote, though. To say more we need many.
#
# ## 4. From an image to a number
#
# For a head and an object, take the highest cell of the spatial map of the query that found the object, and measure where it lies beside the box $(c_x, c_y, w, h)$:
#
# $$\big(\Delta x, \Delta y\big) = \Big(\frac{x_{\text{peak}} - c_x}{w / 2}, \; \frac{y_{\text{peak}} - c_y}{h / 2}\Big).$$
#
# $(0, 0)$ is the middle of the box, $\Delta x = -1$ its left side, $\Delta y = 1$ its bottom. Over all objects that are found (IoU .5 and more): the median says *which place*, the interquartile range *how steadily*. The cell follows one head over the red cells of the 72 test photographs; digits are those of 256 validation scenes.

# %%
peaks = heads.peaks_of(load(CONDITIONAL), cell_scenes("test"))["spatial"].of(0)  # red cells
print("(layers, heads, objects, xy):", tuple(peaks.offset.shape))
offset = peaks.offset[2, 0].numpy()  # layer 2, head 0
low, middle, high = np.quantile(offset, [0.25, 0.5, 0.75], axis=0)
by_hand = pd.Series([*middle, *(high - low)], ["x", "y", "x_range", "y_range"])
row = heads.summarise(peaks).set_index(["layer", "head"]).loc[(2, 0)]
assert np.allclose(by_hand, row[by_hand.index].astype(float), atol=1e-6)
row.to_frame().T

# %% [markdown]
# A head is called *left*, *right*, *top* or *bottom* when that axis is steady (interquartile range below 1: the middle half of the objects spans less than one half-box), its median is beyond .5 to that side, and the other median lies within the box; *inside* when both axes are steady
# and neither median is beyond .5; *unlocalised* otherwise. The thresholds are ours. Each dot below is a head, its bars the interquartile ranges; the square is the box, and heads outside the panel are counted in its corner. Heads of the first layer are pale and not in the tables.
#
# **Predict** where heads lie on red cells, which are many, alike and overlapping, and whether DETR after ten times as many steps has heads like Conditional DETR's.

# %%
def beside_box(axes, frame, color, alpha=1.0, reach=2.2):
    """Medians x, y in half-boxes with their interquartile ranges, a dot a row; those beyond `reach` are counted."""
    axes.add_patch(Rectangle((-1, -1), 2, 2, facecolor="0.95", edgecolor="0.6", linewidth=0.9, zorder=0))
    for row, hue, opacity in zip(frame.itertuples(), color, np.broadcast_to(alpha, len(frame)), strict=True):
        look = {"ms": 3.4, "lw": 0.8, "capsize": 0, "color": hue, "alpha": opacity}
        axes.errorbar(row.x, row.y, row.y_range / 2, row.x_range / 2, "o", **look)
    if outside := (frame[["x", "y"]].abs() > reach).any(axis=1).sum():
        axes.text(0.97, 0.03, f"{outside} outside", transform=axes.transAxes, ha="right", fontsize=7)
    axes.set(xlim=(-reach, reach), ylim=(reach, -reach), xticks=range(-2, 3), yticks=range(-2, 3))
    axes.set(xlabel="x [half-boxes]", box_aspect=1)


# %%
colors = dict(zip(heads.SIDES, (*style.CYCLE[:4], *style.CYCLE[5:]), strict=True))


def where_heads_look(group):
    """A panel a run of a group, a dot a head; returns (figure, data)."""
    spatial = measured[group].query("map == 'spatial'").assign(side=lambda frame: heads.sides(frame))
    bases = [f"{group}-{kind}" for kind in ("conditional", "dab", "detr-focal", "detr")]
    bases.append(runs.LONG[group])
    figure, axes = plots.panels(15, 5, 1.6, sharex=True, sharey=True)
    for panel, (seed, base) in zip(axes, itertools.product((0, 1, 2), bases), strict=True):
        rows = spatial[(spatial["base"] == base) & (spatial["seed"] == seed)]
        if rows.empty:  # the long run has one seed
            panel.remove()
            continue
        beside_box(panel, rows, rows["side"].map(colors), np.where(rows["layer"] == 0, 0.35, 1))
        panel.label_outer()
        title = f"{conditional_detr.title_of(f'{base}-0')}, seed 0" if seed == 0 else f"seed {seed}"
        panel.set_title(title, loc="center", fontsize=7.5)
    axes[4].tick_params(labelbottom=True)  # nothing below it
    axes[5].set_ylabel("y [half-boxes]")
    entries = {side: {"color": color, "marker": "o", "markersize": 4} for side, color in colors.items()}
    plots.legend(figure, entries, "lower right", ncols=1, bbox_to_anchor=(1, 0.15))
    return figure, spatial


# %%
figure, spatial = where_heads_look("cells")
figures.save(figure, "extra/attention-where-heads-look", spatial.round(4))
figure

# %%
figure, spatial = where_heads_look("headline")
figures.save(figure, "extra/attention-where-heads-look-digits", spatial.round(4))
figure

# %%
def count_sides(names, category=None):
    """Late heads of each run by side, how many are steady on both axes or beyond the box, and the map width."""
    late = runs.at_the_end(runs.late_heads(names, category))
    late = late.assign(steady=(late[["x_range", "y_range"]] < 1).all(axis=1))
    late["beyond"] = (late[["x", "y"]].abs() > 1).any(axis=1)
    late["follows"] = late[["x_permuted", "y_permuted"]].sum(axis=1) / late[["x_range", "y_range"]].sum(axis=1)
    each = late.groupby(["base", "seed"])
    table = each["side"].value_counts().unstack(fill_value=0).reindex(columns=heads.SIDES, fill_value=0)
    table[["steady on both axes", "beyond the box"]] = each[["steady", "beyond"]].sum()
    named = late[late["side"] != "unlocalised"].groupby(["base", "seed"])
    table["permuted, times"] = named["follows"].median().round(1)
    others = late[late["side"] == "unlocalised"].groupby(["base", "seed"])
    table["permuted, others"] = others["follows"].median().round(1)
    return table.assign(**{"map width": each["width"].median().round(3)})


tables = {name: count_sides(runs.run_names("cells"), name) for name in ("red cell", "white cell")}
tables["digits"] = count_sides(runs.run_names("headline"))
for name, table in tables.items():
    display(table.rename_axis(index=[name, "seed"]))

# %%
red, digits = (tables[name].loc[f"{group}-conditional"] for name, group in (("red cell", "cells"), ("digits", "headline")))
assert red["unlocalised"].between(6, 7).all() and red["inside"].between(3, 6).all() and (red["permuted, times"] > 5).all()
white = tables["white cell"].loc["cells-conditional"]
assert (red["permuted, others"] < 2.5).all() and (white["inside"] >= 6).all() and not white[SIDES].any(axis=None)
assert digits[SIDES].sum(axis=1).tolist() == [6, 7, 3] and (red[SIDES].sum(axis=1) <= 2).all()
assert (digits["unlocalised"] == 1).all() and (digits["steady on both axes"] == 11).all()
short, long = (tables["digits"].loc[base] for base in ("headline-detr", "long-detr"))
assert (short["unlocalised"] >= 7).all() and long.loc[0, "steady on both axes"] == 5
assert long.loc[0, "map width"] > 1.5 * digits["map width"].max()
late = runs.at_the_end(runs.late_heads(["long-cells-detr-0"], "red cell"))["width"]
assert (late < 0.08).sum() == 2 and (late > 0.25).sum() == 10
others = tables["red cell"]["unlocalised"]
assert (others.loc[["cells-detr", "cells-detr-focal"]] == 12).all() and (others.loc["cells-dab"] >= 10).all()

# %% [markdown]
# **Notice.** On red cells *half* of Conditional DETR's late heads have a place, five or six of twelve in each of three seeds, and most of these peak inside the cell; at most two lie towards a side. They follow their cell closely: with boxes permuted between cells their ranges are about ten times as wide. The other half hardly depends on which
# cell the query is about (one to two times). On white cells, twice as large and alone, the numbers are the same, with none at a side. On digits eleven of twelve heads have a place, in each seed, and six, seven and three of them are near a side, a little *within* the box. So the paper's sides are there on digits, and on round, overlapping cells they are not.
#
# DAB-DETR's seeds differ on digits (1, 7 and 6 unlocalised heads; [14_anchor_boxes](14_anchor_boxes.ipynb)). On red cells it has one or two heads with a place, DETR and DETR + OR + FL have none, in every seed.
# Ten times the training (one seed each) gives DETR heads with a place on digits, though with maps twice as wide as Conditional DETR's, and one such head on red cells: two of twelve have become spots, ten are nearly uniform. On both kinds of images this DETR detects *better* than the briefly trained Conditional DETR ([13_convergence](13_convergence.ipynb)): small maps at the object are not a condition for being good.
#
# **Sides, regions or bands?** In the paper's photograph the maps are bands along a whole side. A map that is uniform over the length of its box has a standard deviation of $1/\sqrt{12} = .29$ of it, so let us call a map a *band* when it is at least that wide along one axis and at most half as wide along the other. And a head without a place at the object
# may still have one in the *image*: how often is its peak in one of the outermost cells?
#
# **Predict** for heads on red cells: spots, bands, or parked at the border of the photograph?

# %%
def shapes(name, scenes):
    """Late heads on red cells: medians of map widths relative to the box, and how often peaks are outermost."""
    peaks = heads.peaks_of(load(name), scenes)["spatial"].of(0)
    wide = (peaks.width / peaks.boxes[:, 2:])[1:].median(2).values.flatten(0, 1)
    cell = torch.tensor([8 / 160, 8 / 120])
    outermost = ((peaks.peak < cell) | (peaks.peak > 1 - cell)).any(-1)[1:].float().mean(2).flatten()
    side = heads.sides(heads.summarise(peaks).query("layer > 0")).to_numpy()
    frame = pd.DataFrame(wide.numpy(), columns=["wide_x", "wide_y"]).assign(outermost=outermost, side=side)
    return frame.assign(run=name, localised=frame["side"] != "unlocalised")


# %%
names = [f"cells-{kind}-{seed}" for kind in ("conditional", "detr") for seed in runs.SEEDS] + ["long-cells-detr-0"]
data = pd.concat([shapes(name, cell_scenes("test")) for name in names])
low, high = data[["wide_x", "wide_y"]].min(axis=1), data[["wide_x", "wide_y"]].max(axis=1)
data["band"] = (high >= 12**-0.5) & (low <= high / 2)
figure, axes = plots.panels(3, 3, 2.6, sharex=True, sharey=True)
limits = 0.8 * low.min(), 1.2 * high.max()
for panel, base in zip(axes, ("cells-conditional", "cells-detr", "long-cells-detr"), strict=True):
    rows = data[data["run"].str.startswith(base)]
    edge = np.array([12**-0.5, limits[1]])
    panel.fill_between(edge, limits[0], edge / 2, color="0.92", linewidth=0)
    panel.fill_betweenx(edge, limits[0], edge / 2, color="0.92", linewidth=0)
    panel.text(0.97, 0.03, "bands", fontsize=7, ha="right", transform=panel.transAxes)
    for side, part in rows.groupby("side"):
        panel.plot(part["wide_x"], part["wide_y"], "o", ms=3.5, color=colors[side])
    panel.set(title=conditional_detr.title_of(f"{base}-0"), xlabel="width in x [of the box's]", box_aspect=1)
axes[0].set(xscale="log", yscale="log", xlim=limits, ylim=limits, ylabel="width in y [of the box's]")
plots.legend(figure, {side: {"color": colors[side], "marker": "o", "markersize": 4} for side in data["side"].unique()})
figures.save(figure, "extra/attention-shapes", data.round(4))
assert not data["band"][data["localised"]].any()
parked = data[data["run"].str.contains("conditional")].groupby(["localised", "run"])["outermost"].median()
assert (low[data["run"].str.startswith("cells-detr")] > 1).all()
assert parked[True].max() < 0.2 < 0.45 < parked[False].min()
display(data.groupby(["run", "localised"]).agg({"outermost": "median", "band": "sum", "side": "size"}).round(2))
figure

# %% [markdown]
# **Notice.** Heads with a place have spots, a sixth to a third as wide as the box; none is a band. Five of Conditional DETR's unlocalised heads *are* bands, one, three and one by seed, but not at the object: in the median the unlocalised heads of a training have their peak in an outermost cell of the photograph
# for 50 to 84 % of the objects, where 22 % of all cells are; heads with a place for 14 to 16 %. They are parked, one might say: a softmax must put its weight somewhere. DETR's maps after 2,400 steps are wider than the box along both axes, in all heads and seeds.
#
# ## 5. In the course of training
#
# The same statistic on digits at six evaluation steps of every training: three seeds of each of four models with equal parameters, data and steps. **Predict**: does a detector need heads with a place in order to detect?

# %%
frame = runs.late_heads(name for name in runs.run_names("headline") if not name.startswith("long"))
each = frame.groupby(["kind", "base", "seed", "run", "step"])
data = each["side"].value_counts().unstack(fill_value=0).reindex(columns=heads.SIDES, fill_value=0)
data = data.assign(**{"on a side": data[SIDES].sum(axis=1)}, width=each["width"].median()).reset_index()
data = data.merge(runs.histories(frame["run"].unique())[["run", "step", "AP50"]])
figure = conditional_detr.curves(data, ["AP50", "on a side", "unlocalised", "width"])
labels = ("AP50", "heads on a side, of 12", "unlocalised heads, of 12", "map width [of the side]")
for panel, label in zip(figure.axes, labels, strict=True):
    panel.set_ylabel(label)
figures.save(figure, "extra/attention-heads-over-training", data.round(4))
first, last = (data[data["step"] == step].set_index(["kind", "seed"]) for step in (250, 1500))
assert first.loc["conditional", "AP50"].min() > 0.2  # detection is under way when heads are first measured
assert (data["AP50"] > 0.3)[data["unlocalised"] == 12].any() and (last["AP50"] > 0.8)[
    last["unlocalised"] == 11
].any()
assert last.loc["conditional", "width"].max() < last.loc["detr", "width"].min()
assert (last.loc["conditional", "inside"] > first.loc["conditional", "inside"]).all()
cells = runs.late_heads((f"cells-conditional-{seed}" for seed in runs.SEEDS), "red cell")
placed = (cells["side"] != "unlocalised").groupby([cells["run"], cells["step"]]).sum().unstack()
assert (placed[400] < placed[800]).all() and (placed.loc[:, 800:].nunique(axis=1) == 1).all()
display(last.groupby("kind")[["on a side", "unlocalised", "width"]].agg(["min", "max"]).round(2))
figure

# %% [markdown]
# **Notice.** A detector does not need them. Of Conditional DETR seven to ten of twelve heads have a place at the first evaluation step, 250, with AP50 between .25 and .54 by then: whether place or detection came first cannot be seen from this. DETR's data speak against "place first": with seed 0 it has an AP50 of .36 at step 750, with all twelve
# heads unlocalised, and DETR + OR + FL with seed 2 ends at an AP50 of .89 with eleven of them unlocalised. In Conditional DETR more heads peak inside the box later on, in every seed (2, 3 and 4 at step 250, 5, 4 and 8 at the end). DAB-DETR's seeds differ: one localises all but one head, the two others about half. DETR's maps
# narrow slowly and stop at about three times the width of Conditional DETR's. On red cells Conditional DETR's five or six heads have their places at step 800 of 2,400, in every seed, and their number does not change after that.
#
# ## 6. A published checkpoint, your own image, and a panel to explore
#
# Set `CHECKPOINT` (a folder, or a hub name when you have a network) and `IMAGE` in the parameters cell: DETR, Conditional DETR and DAB-DETR with a ResNet open without timm. Sections 1 to 3 and the panel then show them, and the first cell below where their heads look: queries with a score of .5 and more count as objects (or the surest one, where none has), and
# heads are named by these objects alone, so take an image with many. Training and seeds (sections 4 and 5) are known of our models only. With a large image (800 pixels and more) the maps of 300 queries take some hundred megabytes; `open_checkpoint(..., side=480)` is the default for that reason. The paper's bands should be looked for there.
#
# The panel comes first as a still picture, then to play with: hover over the image or use the left and right arrow keys for the query, up and down for the layer; click a head. (It counts layers and heads from 0, as all figures here do.) **Look for** a query without an object (lower the threshold): where do its heads look? Then **turn it round** with "Cell → queries": does a cell inside an object belong to the query of that object alone? "Pin" keeps a map beside the next one, on one scale.

# %%
if OWN is None:
    print("CHECKPOINT is not set.")
else:
    figure, axes = plots.panels(1, 1, 3)
    beside_box(axes[0], OWN.summary, heads.sides(OWN.summary).map(colors))
    axes[0].set(title=f"{OWN.title}: {len(OWN.boxes)} objects", ylabel="y [half-boxes]")
    display(figure, heads.heads_by_side(OWN.summary).round(2))

# %%
view = OWN or conditional_detr.open_view(EXPLORED, PHOTOGRAPH if "cells" in EXPLORED else None)
explorer = AttentionExplorer(view.captured, view.pixels, names=view.names, queries=48)
explorer

# %% [markdown]
# ## Here and in the paper
#
# | | here | in the paper | why they differ |
# |---|---|---|---|
# | models | three decoder layers, six heads, about 0.7 M parameters; photographs of 160 x 120 pixels, scenes of 64 | six layers, eight heads, 44 M, COCO | must train on a laptop |
# | backbone before training | photographs: random; digits: pretrained to classify digits in given boxes | ImageNet | no network needed |
# | temperature of the positional encoding | 20, queries and keys | 10000 (Conditional), 20 and 10000 (DAB's code) | one value for all; [14](14_anchor_boxes.ipynb) varies it |
# | Figure 4, spatial maps | digits: small regions near the sides; cells: small regions inside, the other heads at the border of the photograph | bands along the sides | perhaps because objects are only 3 to 7 cells of the map high, perhaps because cells are round |
# | where heads look | a statistic over about 600 digits, 760 red and 71 white cells, and three seeds | five heads on one photograph | the paper gives no statistic |
# | Figure 1, DETR trained ten times as long | maps narrower, still wide, on cells and on digits, one seed each | much like Conditional DETR's: 500 against 50 epochs | same ratio, other scale |
#
# Not checked: whether bands appear in a published checkpoint; none could be opened without a network. With one set as `CHECKPOINT`, sections 1 to 3 and the panel above draw its maps.
#
# ## Exercises
#
# **1.** Write `offset(peak, box)`: from a peak $(x, y)$ and a box $(c_x, c_y, w, h)$ the offset in half-boxes.
#
# **2.** A head's spatial map has the marginals $f(x)$ and $g(y)$, and the map is their product. Its entropy is $H(f) + H(g)$. What is the entropy (nats) of a perfect horizontal band, one row of a 16 x 16 map with uniform weights?
#
# **3.** Content and spatial maps of three cells are $(.5, .3, .2)$ and $(.1, .1, .8)$. What is the combined weight of the last cell?

# %%
offset = None  # exercise 1
check_function(offset, {
    "at the centre": (((0.5, 0.5), (0.5, 0.5, 0.2, 0.4)), (0.0, 0.0)),
    "on the right side": (((0.6, 0.5), (0.5, 0.5, 0.2, 0.4)), (1.0, 0.0)),
    "above the top left corner": (((0.3, 0.1), (0.5, 0.5, 0.2, 0.4)), (-2.0, -2.0)),
})  # fmt: skip
answer = None  # exercise 2
check(answer, np.log(16), hints={np.log(256): "That is the flat map. A band is flat along x only."})
answer = None  # exercise 3
check(
    answer,
    2 / 3,
    hints={0.16: "That is the product; the three do not sum to 1 yet.", 0.5: "Logits add, so maps multiply."},
)

# %% [markdown]
# <details><summary>Solutions</summary>
#
# **1.** `lambda peak, box: tuple((p - c) / (side / 2) for p, c, side in zip(peak, box[:2], box[2:]))`
#
# **2.** $\log 16 = 2.77$: $H(f) = \log 16$ along the row and $H(g) = 0$. The spatial maps of our steady heads have about 2.6 to 2.7, as little as a band, but spread over both axes alike.
#
# **3.** The products are .05, .03, .16; divided by .24: .208, .125, .667. The second map decides, because it is the sharper one.
# </details>
#
# ## Questions for the group
#
# 1. A head of DETR is steady after long training although it has no spatial query. Where must that information sit?
# 2. The paper calls the regions *extremities*. Our heads stay a little inside the box. What would the box head need to know to extrapolate?
# 3. Half of the heads look at the border of the photograph. How would you find out whether they do anything there?
# 4. Content maps light up many cells at once. Is that a weakness, or is it what content is for when place is given?
#
# ## Summary
#
# Content times spatial is the attention, to float precision, and where the two differ in sharpness the spatial map decides. In small Conditional DETRs most late heads have a place near a side or inside the box on digits (eleven of twelve), and half of them on blood cells, inside the cell; the other half is parked at the border of the photograph. That
# holds in each of three seeds. DETR's heads are mostly unlocalised, also where it detects well; after long training its maps are narrower, and still wide. At the objects all of them are regions, not bands.
#
# **Next:** [13_convergence](13_convergence.ipynb): what this buys in training time. [14_anchor_boxes](14_anchor_boxes.ipynb): queries that are boxes, and maps that follow their size.
#
# **References**
#
# ```bibtex
# @inproceedings{meng2021conditional,
#   title     = {Conditional DETR for Fast Training Convergence},
#   author    = {Meng, Depu and Chen, Xiaokang and Fan, Zejia and Zeng, Gang and Li, Houqiang and Yuan, Yuhui and Sun, Lei and Wang, Jingdong},
#   booktitle = {International Conference on Computer Vision},
#   year      = {2021}
# }
# ```

# %%
print(marginalia.versions("numpy", "torch", "matplotlib", "anywidget"))
