# %% [markdown]
# # The position relation: boxes that bias attention
#
# **What does it change when a query knows how all other boxes lie to its own?**
#
# Paper: Relation DETR (ECCV 2024), its Figures 2 and 5 (numbers by their order) and Tables 5 and 6. About one minute to run on two CPU cores, 30 minutes to read.
#
# **中文摘要。** Relation DETR 在解码器的自注意力里加入一个由框的相对位置算出的偏置：中心距离与尺寸之比加 1 取对数，以及宽比、高比的对数，做正弦嵌入，经一个线性层和 ReLU，得到每个头的 Rel，再加到 q·k 上——等价于把注意力权重乘以 exp(Rel) 再归一化。
# 本笔记先用十几行代码写出它并与库函数核对，再用图检验平移、镜像、缩放不变性（以及 eps 在哪里破坏它），画出论文的图 2 与图 5，
# 然后在小模型上逐种子地回答：它有没有用？是否像 NMS？是否先局部后全局？对位置关系越强的数据是否越有用？
# 结果（小模型，规整与散布两种排列各五个种子，其余变体与照片各三个）：在 Conditional DETR 的 39 次训练中有 34 次，训练后的 Rel 给与自己重叠的框的权重高于训练前（其中 25 次两层都高于均匀分配），有些像 NMS；但完全不加位置关系的自注意力同样偏向重叠的框。39 次中有 30 次第三层比第二层更偏向近处；六层解码器的三次训练中，最后一层也比第二层更近（其中一次差别极小），与“先局部后全局”相反。
# 在训练好的模型里把它关掉，AP 的变化不超过 0.0033；各种子的增益有正有负，与不加位置关系、与“看别的查询的框”的对照都分不出高下；只用一层的框、把尺度改为 2π、换成别的解码器，也是这样；但照片上三个种子的 AP 都低 0.01 到 0.04。五组数据里，超出量的高低与增益没有可见的联系。可作参考的是：在规整与散布的数字上、没有混合查询时，删掉全部重复框也只使 AP50 增加 0.03 到 0.05（照片不到 0.02）。论文的大模型是否如此，这里说明不了。
#
# ## What you will see
#
# 1. The paper's idea in a few lines of code.
# 2. Where it sits in the decoder, and why six layers have five relations.
# 3. What it does not change under: moving, mirroring, scaling; and where a small constant breaks the last.
# 4. What heads make of the geometry, before and after training, and which objects an object looks at.
# 5. Whether the relation works like non-maximum suppression, and whether it goes from local to global.
# 6. Whether it helps, seed by seed and in four decoders, what a detector does without it, and whether gains go with correlation.
# 7. What it costs with 1,500 objects, and how to look into published weights.
#
# You need to know decoder queries and their references ([14_anchor_boxes](14_anchor_boxes.ipynb)) and, for section 6, excess correlation ([21_box_correlation](21_box_correlation.ipynb)). *NMS*, non-maximum suppression, deletes
# a detection that overlaps a surer one; detectors with queries do without.

# %%
import numpy as np
import pandas as pd
import seaborn
import torch
from IPython.display import display

import marginalia
from marginalia import figures, plots, style
from marginalia.boxes import cells, excess_correlation
from marginalia.boxes.geometry import cxcywh_to_xywh
from marginalia.detection import DetectorConfig, as_boxes, build, load, make_scenes
from marginalia.detection.convergence import verdict
from marginalia.detection.loading import load_relation
from marginalia.detection.relation import PositionRelation, embed, relative_geometry
from marginalia.exercises import check, check_function
from marginalia.explorers import RelationExplorer
from marginalia.figures import relation_detr, runs
from marginalia.store import read_table

style.use_style()
torch.set_num_threads(1)

# %% tags=["parameters"]
FAST = True  # nothing here is slow
RETRAIN = False  # nothing is trained here: `make train` makes the runs of sections 4 to 6
DETECTORS = None  # of Figure 5: ["arranged-relation-0"], say, or files of your own detectors with a relation
CHECKPOINT = None  # a .pth of the official Relation DETR: section 7 then shows what it learnt

# %% [markdown]
# ## 1. The idea in a few lines
#
# **Claim.** Relation DETR adds to the logits of self-attention, for every head, a number that depends on nothing but how two boxes lie to each other. For a box $i$ with centre $(x_i, y_i)$ and size $(w_i, h_i)$ and a box $j$,
#
# $$e(b_i, b_j) = \Big[\log\Big(\frac{|x_i - x_j|}{w_i} + 1\Big),\ \log\Big(\frac{|y_i - y_j|}{h_i} + 1\Big),\ \log\frac{w_i}{w_j},\ \log\frac{h_i}{h_j}\Big],$$
#
# $$\text{Rel} = \max\big(0,\ W\,\text{Embed}(e) + B\big), \qquad \text{attention} = \text{softmax}\Big(\frac{q k^\top}{\sqrt D} + \text{Rel}\Big).$$
#
# Embed writes each of the four numbers as sines and cosines of eight frequencies, 100 down to .03; $W$ (heads × 64) and $B$ are learned: 520 numbers with eight heads. Row $i$ attends, column $j$ is attended. First by hand, for two boxes; the second lies a box width and a half to the right. Then the same for all pairs, with the published code's $10^{-5}$ beside widths and heights; the embedding; and the bias.

# %%
boxes = torch.tensor([[0.30, 0.40, 0.10, 0.20], [0.45, 0.50, 0.20, 0.10]], dtype=torch.float64)
(x_i, y_i, w_i, h_i), (x_j, y_j, w_j, h_j) = boxes
by_hand = [abs(x_i - x_j) / w_i + 1, abs(y_i - y_j) / h_i + 1, w_i / w_j, h_i / h_j]  # before the log
print("as multiples:", *(f"{value:.2f}" for value in by_hand))
print("e(b_1, b_2): ", *(f"{value.log():+.3f}" for value in by_hand))

# %%
def geometry(b, c, eps=1e-5):
    """(N, 4) and (M, 4) boxes to (N, M, 4)."""
    (x, y, w, h), (u, v, s, t) = b[:, None].unbind(-1), c[None].unbind(-1)
    w, h, s, t = w + eps, h + eps, s + eps, t + eps
    return torch.stack([((x - u).abs() / w + 1).log(), ((y - v).abs() / h + 1).log(), (w / s).log(), (h / t).log()], -1)


def sines(e):
    """(N, M, 4) to (N, M, 64)."""
    angle = e[..., None] * 100 / 10000 ** (torch.arange(0, 16, 2) / 16)  # (N, M, 4, 8)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-3)


torch.manual_seed(0)
relation = PositionRelation(heads=8).double()
W, B = relation.projection.weight, relation.projection.bias  # (8, 64), (8)
some = torch.rand(40, 4, dtype=torch.float64) * 0.4 + 0.02
Rel = (sines(geometry(some, some)) @ W.T + B).relu().movedim(-1, 0)  # (8, 40, 40)
assert torch.allclose(geometry(boxes, boxes, eps=0)[0, 1].exp(), torch.stack(by_hand))
assert torch.allclose(Rel, relation(some[None], some[None])[0], atol=1e-4)  # the library, which keeps 32-bit frequencies
assert sum(p.numel() for p in relation.parameters()) == 520
q, k = torch.randn(2, 8, 40, 32, dtype=torch.float64)  # (H, N, D) each
plain = (q @ k.mT / 32**0.5).softmax(-1)
biased = (q @ k.mT / 32**0.5 + Rel).softmax(-1)  # attention with the relation
multiplied = plain * Rel.exp()
assert torch.allclose(biased, multiplied / multiplied.sum(-1, keepdim=True))  # exp(Rel) multiplies
assert torch.allclose(biased, (q @ k.mT / 32**0.5 + Rel + 5).softmax(-1))  # what a whole row gets does nothing

# %% [markdown]
# **Notice.** exp(Rel) *multiplies* attention weights before they are normalised. Rel is never negative, so a head can only favour some boxes over the others, and a bias that is the same for a whole row has no effect: a head whose Rel is 0 for all pairs (*dead*, cut by ReLU) has no relation at all.
#
# What do two boxes have to be like for a large Rel? Put a box in the middle of the image and move a partner of the same size about. The first map is the number itself, which $W$ never sees; the others are what it gets. **Predict** which of them tell "near" from "far".

# %%
axis = torch.linspace(0, 1, 81)
partner = torch.stack([*torch.meshgrid(axis, axis, indexing="xy"), *torch.tensor([0.2, 0.1])[:, None, None].expand(2, 81, 81)], -1).flatten(0, 1)
source = torch.tensor([[[0.5, 0.5, 0.2, 0.1]]])
e = relative_geometry(source, partner[None])[0, 0]  # (81 * 81, 4)
waves = embed(e, relation.frequency)  # (81 * 81, 64): 16 for each number, sine and cosine in turn
shown = {"$|x_i - x_j|$ part of $e$": e[:, 0], "its sine, frequency 100": waves[:, 0], "frequency 10": waves[:, 4], "frequency 1": waves[:, 8]}
assert int(100 * e[:, 0].max() / torch.pi) == 39  # sign changes of sin(100 x) between 0 and the largest x

# %%
figure, axes = plots.panels(4, 4, 2.2)
for panel, (name, values) in zip(axes, shown.items(), strict=True):
    diverging = {"vmin": -1, "vmax": 1, "cmap": style.DIVERGING} if "freq" in name else {}
    plots.map_over(panel, values.reshape(81, 81).numpy(), box=source[0, 0].numpy(), color="black", **diverging)
    panel.set_title(name, fontsize=8)
figures.save(figure, "extra/relation-geometry", pd.DataFrame({name: values for name, values in shown.items()}).round(4))
figure

# %% [markdown]
# **Notice.** The distance itself is smooth; at frequency 100 its sine changes sign 39 times from the middle to the border (81 places a row are too few to show it), and near the box partners that differ by a hundredth of a width get unlike numbers. At frequency 1 it rises all the way. So *scale* 100, which the author chose
# ad hoc ([issue 31](https://github.com/xiuqhou/Relation-DETR/issues/31)), spends a quarter of the embedding (frequencies 100 and 32) on differences far below a box. One user saw a gain with 100 and none with $2\pi$; section 6 compares them.
#
# ## 2. In the decoder
#
# **Claim.** The relation sits beside self-attention, takes boxes of *two* layers (rows: those of the layer before, columns: the newest), and one $W$ serves all layers. This is the paper's Figure 2 (by order), drawn by us from the shapes of a live pass.

# %%
figure, data = relation_detr.decoder_layer()
assert len(data) == 5 and data["layer"].tolist() == [2, 3, 4, 5, 6] and set(data["shape"]) == {(1, 8, 12, 12)}
figures.save(figure, "relation-detr/decoder-layer", data)
model = build(DetectorConfig(decoder_layers=3, relation="two layers"))
output = model(torch.rand(1, 1, 64, 64))
model.decoder.relation(output.boxes[0], output.boxes[1]).sum().backward()
assert model.decoder.relation.projection.weight.grad.any()  # W learns, and boxes get no gradient
assert all(p.grad is None for p in model.decoder.box_head.parameters())
figure

# %% [markdown]
# Drawn by [`figures.relation_detr.decoder_layer`](../lib/marginalia/figures/relation_detr.py).
#
# **Notice.** *Why five relations for six layers?* ([issue 20](https://github.com/xiuqhou/Relation-DETR/issues/20)) A relation needs boxes before and after some layer, and the first layer has only what it starts from. Since rows and columns are boxes of different layers, a box is a little off from itself: the diagonal of $e$ is not 0. No gradient goes through
# the boxes; only $W$ and $B$ learn.
#
# ## 3. What it does not see
#
# **Claim.** $e$ stays as it is when all boxes are moved or mirrored, and when an axis is scaled: a scene and the same scene from farther off, all boxes smaller and closer in the same frame, have one relation. The last holds without the small constant only. **Predict** for which boxes it fails.

# %%
def change(action, side, eps):
    """Largest difference that an action on 200 random pairs of boxes of one size makes in e, and in its embedding."""
    pairs = torch.cat([torch.rand(2, 1, 200, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64), torch.full((2, 1, 200, 2), side)], -1)
    before, after = (relative_geometry(*each, eps=eps) for each in (pairs, action(pairs.clone())))
    return (after - before).abs().max().item(), (embed(after, relation.frequency) - embed(before, relation.frequency)).abs().max().item()


mirrored = lambda b: torch.cat([1 - b[..., :1], b[..., 1:]], -1)  # noqa: E731
actions = {"moved": lambda b: b + torch.tensor([0.1, -0.2, 0, 0]), "mirrored": mirrored, "half": lambda b: b * 0.5, "a tenth": lambda b: b * 0.1}
sides = np.geomspace(0.005, 0.32, 13)
rows = [(name, eps, side, *change(action, side, eps)) for name, action in actions.items() for eps in (0, 1e-5) for side in sides]
data = pd.DataFrame(rows, columns=["action", "eps", "side", "e", "embedding"])
exact = data[(data["eps"] == 0) | data["action"].isin(["moved", "mirrored"])]
assert exact["e"].max() < 1e-12
scaled = data.drop(exact.index).set_index("action")
assert (scaled.loc["half", "e"] < 1e-5 / scaled.loc["half", "side"]).all() and scaled.loc["a tenth"].query("side >= .0199")["e"].max() < 4.5e-3
assert 0.4 < scaled.loc["a tenth"].query("side >= .0199")["embedding"].max() < 0.45
figure, axes = plots.panels(2, 2, 2.6)
for panel, column, title in zip(axes, ("e", "embedding"), ("change of $e$", "change of its embedding"), strict=True):
    for (name, part), color in zip(scaled.groupby(level=0), style.CYCLE):
        panel.loglog(part["side"], part[column], "o-", color=color, markersize=4, label=f"scaled to {name}")
    panel.set(xlabel="side of the boxes [of the image]", title=title)
axes[0].legend()
axes[1].axhline(2, color=plots.NEUTRAL, linewidth=1, linestyle="--")
axes[1].text(0.3, 1.5, "largest possible", ha="right", va="top", fontsize=8)
figures.save(figure, "extra/relation-eps", data)
figure

# %% [markdown]
# **Notice.** Moved, mirrored or, without the constant, scaled: no difference beyond rounding ($10^{-12}$). With $10^{-5}$ small boxes are not free of scale. Shrunk to a tenth, boxes of .02 of the image change $e$ by up to .0045, which frequency 100 makes .4 in the embedding, where 2 is the most there is.
#
# ## 4. What heads make of it
#
# **Claim.** $W$ starts at random, as in the published code, and learns with the rest. Take a small Conditional DETR with a relation, trained on arranged digits (48 pixels, four heads), and the same partner boxes as in section 1. **Predict**: after training, will heads favour near partners, far ones, or those beside them?

# %%
NAME = (DETECTORS or relation_detr.RELATED_MODELS)[0]
trained = load(NAME).decoder.relation
start = build(load(NAME).config).decoder.relation  # of seed 0, that of the shipped runs
rel = torch.cat([one(source, partner[None])[0, :, 0] for one in (start, trained)]).detach()  # (2H, 81 * 81)
figure, axes = plots.panels(len(rel), len(rel) // 2, 1.9)
for panel, values, (when, head) in zip(axes, rel, [(when, head) for when in ("before", "after") for head in range(len(rel) // 2)], strict=True):
    image = plots.map_over(panel, values.reshape(81, 81).numpy(), box=source[0, 0].numpy(), color="white", vmin=0, vmax=rel.max().item())
    panel.set_title(f"head {head}, {when}", fontsize=8)
figure.colorbar(image, ax=axes, label="Rel", shrink=0.7)
figures.save(figure, "extra/relation-bias", pd.DataFrame(rel.numpy().T).add_prefix("rel_").round(4))
rows = []
for run, table in read_table("measured/relation_weights.csv").groupby("run", sort=False):
    made = runs.settings(run)
    first = build(DetectorConfig(**made["detector"]), made["options"]["seed"]).decoder.relation.projection.weight.detach()
    last = torch.tensor(table.filter(regex=r"^w\d").to_numpy(), dtype=torch.float32)
    cosine = torch.cosine_similarity(first, last).numpy()
    longer = (last.norm() / first.norm()).item()
    rows.append(pd.DataFrame({"base": run[:-2], "run": run, "head": table["head"], "cosine": cosine, "longer": longer}))
fine = [number + k for number in range(0, 64, 16) for k in range(4)]  # channels of the frequencies 100 and 32
share = [(one.projection.weight[:, fine].norm() / one.projection.weight.norm()).item() ** 2 for one in (start, trained)]
same_column = rel[-1].reshape(81, 81)[:, 36:45].mean() / rel[-1].mean()
assert DETECTORS or (same_column > 1.25 and all(0.27 < part < 0.28 for part in share))
moved = pd.concat(rows)
assert moved["cosine"].min() > 0.48 and moved.groupby("base")["cosine"].median().min() > 0.76
assert moved["longer"].between(1, 1.83).all() and moved[moved["base"] != "arranged-six-layers"]["longer"].max() < 1.48
print("cosine of W before and after, a head of a run each:")
display(moved.groupby("base", sort=False)["cosine"].agg(["min", "median", "max", "count"]).round(2))
figure

# %% [markdown]
# **Notice.** The stripes are those of the random start. After training each head's $W$ still points much the way it did (cosine .48 or more, median .77 or more for every kind of run), and $W$ is up to 47 % longer, with six layers 82 %; in this run the frequencies 100 and 32, which make the fine stripes, keep their share of $|W|^2$ (.27). Head 3 of this run learnt something: partners in the same column, which overlap the object or lie above and below it.
#
# *Which objects does an object look at?* The paper's Figure 5 marks, for a query object, others with a high relation weight. Here a tag says by how much the relation alone multiplies the weight of a box (exp(Rel), mean over heads, 1 for the mean query).

# %%
figure, data = relation_detr.relation_of_a_query(DETECTORS)
assert DETECTORS or data["multiplier"].dropna().between(0.8, 1.4).all()
figures.save(figure, "relation-detr/relation-of-a-query", data.round(4))
figure

# %% [markdown]
# Drawn by [`figures.relation_detr.relation_of_a_query`](../lib/marginalia/figures/relation_detr.py).
#
# **Notice.** For these six objects weights change by 36 % at most (.81 to 1.36). In the first image the relation favours the near-duplicate of the object itself (1.36), as non-maximum suppression would need it; elsewhere weights stay between .81 and 1.18. The paper's figure shows a few related objects; these weights have no such choice to show. Two runs, one seed each; others have a stronger preference (section 5).
#
# ## 5. Like NMS? From local to global?
#
# **Two claims to test.** The paper: like the IoU in NMS, relative geometry lets a query suppress its near-duplicates. LP-DETR (arXiv 2502.05147): relations are local in early decoder layers and global in late ones. So measure, for every query that answers for an object: how much weight goes to boxes with IoU of .5 and more, and how far away
# what is attended lies. Both over uniform weights: 1 is no preference. Each dot is a run, mean over its heads.

# %%
maps = read_table("measured/relation_maps.csv").assign(base=lambda table: table["run"].str[:-2])
each = maps[maps["base"] != "arranged-six-layers"].groupby(["base", "run", "layer", "map"], sort=False)[["overlapping", "distance", "objects"]].mean().reset_index()
names = {"arranged-relation": "arranged", "arranged-both": "arranged,\nhybrid", "scattered-relation": "scattered", "scattered-both": "scattered,\nhybrid", "headline-relation": "larger", "cells-relation": "photographs"}
names |= {"arranged-base": "arranged,\nno Rel", "scattered-base": "scattered,\nno Rel", "headline-conditional": "larger,\nno Rel", "cells-conditional": "photographs,\nno Rel"}
related = each["base"].str.contains("relation|both")
shown = each[each["base"].isin(names) & ((each["map"] == "attention") | related & (each["map"] == "relation"))]
shown = shown.assign(detector=shown["base"].map(names), kind=shown["map"] + ", layer " + (shown["layer"] + 1).astype(str))
figure, axes = plots.panels(2, 1, 2.6, sharex=True)
for panel, (column, label) in zip(axes, {"overlapping": "weight of boxes\nwith IoU ≥ .5", "distance": "distance of what\nis attended"}.items(), strict=True):
    seaborn.stripplot(shown, x="detector", y=column, hue="kind", order=names.values(), dodge=True, jitter=False, palette=style.CYCLE[:4], ax=panel, legend=panel is axes[0])
    panel.axhline(1, color=plots.NEUTRAL, linewidth=1)
    panel.set(xlabel="", ylabel=label + "\n[of uniform]")
    panel.tick_params(axis="x", labelsize=7)
axes[0].legend(loc="upper center", ncols=4, bbox_to_anchor=(0.5, 1.25))
figures.save(figure, "extra/relation-attends", shown.drop(columns="detector").round(4))
wide = each.pivot(index=["base", "run"], columns=["map", "layer"], values=["overlapping", "distance"])
alone, start = (wide.xs(name, axis=1, level="map").dropna() for name in ("relation", "start"))  # (runs, metric x layer)
alone, without = alone.loc[start.index], wide[~wide.index.isin(start.index)]["overlapping", "attention"]  # with a relation, and none
of = alone.index.get_level_values("base").str
assert alone[of.contains("permuted")]["overlapping"].sub(1).abs().max(axis=None) < 0.022  # boxes of other queries: no preference
rises, other, conditional = (alone["overlapping"] > start["overlapping"]).all(axis=1), of.contains("detr|dab"), ~of.contains("permuted|detr|dab")
alone, start, learnt = alone[conditional], start[conditional], rises[conditional]
nearer, prefers = alone["distance", 2] < alone["distance", 1], (alone["overlapping"] > 1).all(axis=1)
print(f"more weight than at the start: {learnt.sum()} of {len(learnt)}, than uniform: {prefers.sum()}; nearer in layer 3 than in 2: {nearer.sum()}")
assert [len(learnt), learnt.sum(), prefers.sum(), nearer.sum(), rises[other].sum(), other.sum()] == [39, 34, 25, 30, 0, 9]
assert sorted(learnt[~learnt].index.get_level_values("base")) == ["arranged-relation", *["arranged-scale-2pi"] * 2, *["cells-relation"] * 2]
plain = without[~without.index.get_level_values("base").str.contains("hybrid")]
assert len(plain) == 14 and [round(plain.min(axis=None), 2), round(plain.max(axis=None), 2)] == [1.06, 3.15]
assert start["overlapping"].sub(1).abs().max(axis=None) < 0.09 and 2 < alone["overlapping"].max(axis=None) < 2.05
figure

# %% [markdown]
# **Notice.** *Like NMS?* Somewhat. Before training the relation by itself gives overlapping boxes about the uniform weight (within .09). After it, the weight is higher than at the start in both layers in 34 of 39 runs of Conditional DETR (in some by .002 only), and higher than uniform in 25, up to twice. The five others are three on arranged digits and two on photographs. In the other decoders it rises in none of nine runs, and a relation that sees other queries' boxes learns no preference (within .022 of 1). But self-attention without any relation prefers overlapping boxes too, in all fourteen runs without hybrid queries (1.06 to 3.15 times the uniform weight).
#
# *From local to global?* Here rather the other way: what the relation attends is nearer in the third layer than in the second in 30 of the 39. $W$ is the same in both, so what differs is the boxes. Two relations are a short ladder, though, and LP-DETR's claim is about six layers. So three detectors with six, and five relations.

# %%
deep = maps[maps["base"] == "arranged-six-layers"].assign(layer=lambda table: table["layer"] + 1)  # layers from 1
deep = deep.groupby(["run", "map", "layer"], sort=False)[["overlapping", "distance"]].mean().reset_index()
figure, axes = plots.panels(2, 2, 2.4)
for panel, (column, label) in zip(axes, {"overlapping": "weight of boxes with IoU ≥ .5", "distance": "distance of what is attended"}.items(), strict=True):
    seaborn.lineplot(deep, x="layer", y=column, hue="map", units="run", estimator=None, marker="o", palette=style.CYCLE[:3], ax=panel, legend=panel is axes[0])
    panel.axhline(1, color=plots.NEUTRAL, linewidth=1)
    panel.set(xlabel="decoder layer", ylabel=label + "\n[of uniform]", xticks=range(2, 7))
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
axes[0].get_legend().remove()
near, overlap = (deep.pivot(index=["map", "run"], columns="layer", values=column) for column in ("distance", "overlapping"))
assert (near.loc["relation"][6] < near.loc["relation"][2]).all() and (overlap.loc["relation"][6] > overlap.loc["relation"][2]).all()
strong = near.loc["relation"].query("`6` < 0.9")
assert len(strong) == 2 and (strong[2] - strong[3] > 2 * (strong[3] - strong[6])).all()
assert (near.loc["attention"][5] > 1).sum() == 2 and (near.loc["attention"][6] < 1).all()
figures.save(figure, "extra/relation-attends-six-layers", deep.round(4))
figure

# %% [markdown]
# **Notice.** No. In all three runs the relation alone attends nearer boxes in the last layer than in the second (in one by .004 only), and gives overlapping ones more weight; in the two runs in which that is much, most of it has happened by the third layer (*start*: the same $W$ before training). Self-attention as a whole goes neither way: in two of the runs the fifth layer looks farther than uniform, the sixth does not. These are small detectors on digits; LP-DETR's own we do not have.
#
# ## 6. Does it help?
#
# The paper's component table adds the relation and the *hybrid* queries (one-to-many, [23_query_groups](23_query_groups.ipynb)) one after the other. Here the same parts in a small Conditional DETR, everything else held fixed: the same seeds, images and steps. **Predict** the sign of each line.

# %%
drawn = {"components": relation_detr.components(), "other-detectors": relation_detr.other_detectors()}
for name, (figure, data) in drawn.items():
    figures.save(figure, f"relation-detr/{name}", data.round(4))
    display(figure)
(parts, ends), (decoders, others) = ([data.pivot(index="seed", columns="pair", values=value) for value in ("gain", "changed")] for _, data in drawn.values())
signs = {name: verdict(column.dropna()) for frame in (parts, decoders) for name, column in frame.items()}
permuted = {layout: parts[f"{layout}: relation"] - parts[f"{layout}: relation, permuted boxes"] for layout in ("arranged", "scattered")}
print("relation, arranged minus scattered:", verdict(parts["arranged: relation"] - parts["scattered: relation"]))
for layout, right_boxes in permuted.items():
    together = ends[f"{layout}: relation"].corr(ends[f"{layout}: relation, permuted boxes"])
    print(f"{layout}, relation minus permuted: {verdict(right_boxes)}; mean {right_boxes.mean():+.3f}; correlation of the two {together:.2f}")
    assert len(right_boxes) == 5 and round(together, 2) == {"arranged": 0.77, "scattered": 0.71}[layout]
    assert (parts[f"{layout}: relation"] * parts[f"{layout}: relation, permuted boxes"] > 0).sum() == 4
    assert all(signs[f"{layout}: relation{boxes}"].startswith("not separated") for boxes in ("", ", permuted boxes"))
    assert signs[f"{layout}: hybrid"] == signs[f"{layout}: both"] == "below in all 5 seeds"
one, other = (build(DetectorConfig(relation=kind), seed=1).state_dict() for kind in ("two layers", "permuted"))
assert all(torch.equal(one[name], other[name]) for name in one)  # the same initial numbers
assert verdict(parts["arranged: relation"] - parts["scattered: relation"]).startswith("not separated")
assert (permuted["arranged"] > 0).sum() == 2 and (permuted["scattered"] > 0).sum() == 4 and round(permuted["scattered"].mean(), 3) == 0.008
assert all("1 of 3" in signs[f"arranged: relation, {variant}"] for variant in ("one layer's boxes", "scale 2π"))
assert parts[["arranged: relation", "scattered: relation"]].agg(["min", "max"]).T.round(3).to_numpy().tolist() == [[-0.076, 0.037], [-0.02, 0.007]]
assert parts["photographs: relation"].dropna().between(-0.045, -0.009).all() and signs["photographs: both"].startswith("not separated")
larger = runs.at_the_end(runs.histories(runs.seeds_of("headline-conditional")))["AP"]
assert [round(value, 3) for value in (ends["scattered, larger: relation"][0], larger.min(), larger.max())] == [0.699, 0.691, 0.707]
more = {layout: parts[f"{layout}: both"] - parts[f"{layout}: hybrid"] for layout in ("arranged", "scattered")}
assert (more["arranged"] < 0).sum() == 4 and more["scattered"].abs().max() < 0.034
assert all(signs[name].startswith("not separated") for name in decoders) and (others - decoders)[["DETR", "DETR + OR + FL"]].max(axis=None) < 0.06
assert (others - decoders)["DAB-DETR"].agg(["min", "max"]).round(2).tolist() == [0.16, 0.43]

# %% [markdown]
# Drawn by [`figures.relation_detr.components`](../lib/marginalia/figures/relation_detr.py) and [`figures.relation_detr.other_detectors`](../lib/marginalia/figures/relation_detr.py).
#
# **Notice.** Trained with a relation, detectors of arranged digits move by -.08 to +.04 AP, those of scattered ones by -.02 to +.01. Neither is separated from zero, nor one from the other, though the excess correlation of their boxes is +.04 and -.07 (next figure). So these runs do not say that the relation helps more where boxes are related; they show no help at all. On photographs AP falls in all three seeds (by .01 to .04); on larger scenes one seed ends at .699, the base's three at .691 to .707.
#
# *Is it the relation that moves them?* A pair shares its scenes and their order, not its initial numbers: a relation draws its own in between. The control whose relation sees the boxes of *other* queries has as many parameters and starts from exactly the numbers of the detector with the relation. It mostly goes the same way: its gain has the same sign in four of five seeds on either layout, and the AP of the two correlate (.77 and .71). What is left for the right boxes is not separated from nothing: above in two of five seeds on arranged digits, in four of five on scattered ones (mean +.008). One layer's boxes in place of two ([issue 8](https://github.com/xiuqhou/Relation-DETR/issues/8)) and scale $2\pi$ in place of 100 (issue 31) are not separated from nothing either (three seeds, above in one).
#
# On digits hybrid queries lower AP in every seed ([23](23_query_groups.ipynb) takes that apart); the relation beside them lowers it further on arranged digits in four seeds of five, and on scattered ones changes it by .034 at most, with either sign. On photographs the two together are not separated from the base. And *in the other decoders* (the paper's Table 6 has four more, too) no gain is separated from zero; DETR and DETR + OR + FL have hardly begun to find digits after 750 steps (AP below .06), and DAB-DETR's own seeds end between .16 and .43.
#
# *How would it show if the relation worked?* Take it away from trained detectors (Rel = 0), and, to see what self-attention is worth at all, let every query attend to itself alone.

# %%
off = read_table("measured/relation_off.csv").assign(base=lambda table: table["run"].str[:-2])
wide = off.pivot(index=["base", "run"], columns="attention", values=["AP", "duplicates"])
loss = pd.concat({f"{metric}, {part}": wide[metric, part] - wide[metric, "as trained"] for part in ("no relation", "itself alone") for metric in ("AP", "duplicates")}, axis=1)
assert loss["AP, no relation"].notna().sum() == 61 and loss["AP, no relation"].abs().max() < 0.0033 and (loss["AP, itself alone"] < 0).all()
small = loss.index.get_level_values("base").str.fullmatch("(arranged|scattered)-(base|relation)")
assert small.sum() == 20 and loss.loc[small, "duplicates, itself alone"].abs().round(2).max() <= 0.02
larger = wide["duplicates"].loc[["headline-conditional", "headline-relation"], ["as trained", "itself alone"]]
assert larger.round(2).to_numpy().tolist() == [[0.08, 0.17], [0.09, 0.17]]
levels = off[off["attention"] == "as trained"].set_index(["base", "run"])
loss["AP50 by an oracle"] = levels["duplicate_cost"]
assert loss.loc[small, "AP50 by an oracle"].between(0.025, 0.055).all() and loss.loc[["cells-conditional", "cells-relation"], "AP50 by an oracle"].max() < 0.02
for frame, sign in ((levels[["AP", "AR", "found", "duplicates"]], ""), (loss, "+")):
    display(frame.groupby("base").agg(lambda runs: f"{runs.min():{sign}.3f} to {runs.max():{sign}.3f}").replace(r"\+?nan to \+?nan", "", regex=True))

# %% [markdown]
# **Notice.** Taken away from a detector that was trained with it, the relation leaves AP where it was (within .0033, all 61 runs). Cut self-attention, and AP falls in every run, but in Conditional DETRs on arranged and scattered digits, with the relation or without, duplicates hardly change (by .02 an object at most, 20 runs without hybrid queries); those on larger scenes, trained for longer, have twice as many without it (.17 instead of .08 and .09; one seed each). And what is there to gain? If an oracle deleted every duplicate, AP50 of these would rise by .03 to .05, on photographs, without hybrid queries, by less than .02 (last column). By deleting duplicates a better bias could bring no more than that here; what else self-attention does, since AP falls without it while duplicates stay, has no such bound. The paper's detectors have 900 queries, six layers and far longer training; what a relation is worth there, we did not measure.
#
# *Does a higher correlation between boxes go with a higher gain?* ([Issue 30](https://github.com/xiuqhou/Relation-DETR/issues/30) asks whether the method suits task-specific sets.) Four layouts of digits, and the photographs. The excess is of the boxes alone (count null, [21](21_box_correlation.ipynb)); *centred* and *smallest* keep digits in strict blocks, in the middle of the image and of the smallest height.

# %%
pairs = {layout: (f"{layout}-base", f"{layout}-relation") for layout in runs.LAYOUTS} | {"photographs": ("cells-conditional", "cells-relation")}
_, data = relation_detr.gains(pairs)
tables = {layout: as_boxes(make_scenes(800, layout, side=48)) for layout in runs.LAYOUTS} | {"photographs": cells().table}
excess = {name: excess_correlation(table, "count", shuffles=50) for name, table in tables.items()}
data["excess"] = data["pair"].map({name: one.excess for name, one in excess.items()})
figure, (panel,) = plots.panels(1, 1, 2.6)
for (name, part), color in zip(data.groupby("pair", sort=False), style.CYCLE):
    panel.hlines(part["gain"].mean(), *excess[name].interval, color=color, linewidth=1.5)
    panel.plot(part["excess"], part["gain"], "o", color=color, label=f"{name} ({len(part)} seeds)", alpha=0.7)
panel.axhline(0, color=plots.NEUTRAL, linewidth=1)
panel.set(xlabel="excess of MC over boxes permuted between images (bar: 95 %, at the mean gain)", ylabel="gain of AP by the relation")
panel.legend(loc="center left", bbox_to_anchor=(1, 0.5))
figures.save(figure, "extra/relation-gain-by-excess", data.round(4))
by = data.groupby("pair", sort=False)["gain"].agg(["mean", lambda gains: gains.max() - gains.min()])
assert data.groupby("pair")["excess"].first().sort_values().index.tolist() == ["centred", "scattered", "photographs", "arranged", "smallest"]
assert by["mean"].sort_values().index.tolist() == ["centred", "smallest", "photographs", "arranged", "scattered"] and by["mean"].max() < -0.003
assert [round(excess[name].excess, 2) for name in ("arranged", "scattered")] == [0.04, -0.07] and by.iloc[:, 1].round(2).agg(["min", "max"]).tolist() == [0.03, 0.23]
figure

# %% [markdown]
# **Notice.** Not here. The mean gain is below zero on all five, from -.04 to -.004, best on *scattered* digits, whose boxes lie below chance, and second to last on *smallest* ones, with the highest excess. But seeds differ by .03 to .23: a gain of a few hundredths that rose with the excess would not be seen. Without a gain there is nothing that could go with it, so the question stays open.
#
# ## 7. Many objects, and published weights
#
# A user with over 1,500 objects ran out of memory ([issue 17](https://github.com/xiuqhou/Relation-DETR/issues/17)). The embedding is what is large: 64 numbers a pair. The library never builds it: a ratio's angle is a *difference*, $\sin(a_i - a_j) = \sin a_i \cos a_j - \cos a_i \sin a_j$, so two of the four numbers become a product of matrices,
# and the other two are embedded for some rows at a time.

# %%
sizes = pd.DataFrame({"N": [300, 900, 1500, 3000]})
sizes["embedding, MB"] = sizes["N"] ** 2 * 64 * 4 / 1e6  # float32
sizes["Rel of 8 heads, MB"] = sizes["N"] ** 2 * 8 * 4 / 1e6
many = torch.rand(1, 1500, 4) * 0.1 + 0.01
rel = PositionRelation()(many, many)
assert rel.shape == (1, 8, 1500, 1500) and rel.nbytes / 1e6 == sizes["Rel of 8 heads, MB"][2]
print(sizes.round(0).to_string(index=False))

# %% [markdown]
# **Notice.** With 1,500 queries the embedding alone takes 576 MB in each layer, Rel 72. (The author's advice to that user was to save memory in the *encoder*; what filled it there, we do not know.) Measured for 900 boxes, forward and backward (`python benchmarks/relation.py`): 121 MB and .34 s of the processor here, 537 MB and .52 s with the embedding written out.
#
# *What did the published model learn?* Its weights could not be had here. With the official file (`.pth`, opened with weights only) set as `CHECKPOINT` in the parameters cell, the next cell shows its eight heads as in section 4, and the explorer has them; else it has the weights of section 4. Our names of the file's tensors come from the code, not from a file that we opened. Move boxes: geometry, embedding, bias and attention follow.

# %%
if CHECKPOINT is not None:
    trained = load_relation(CHECKPOINT)
    rel = trained(source, partner[None])[0, :, 0].detach().reshape(-1, 81, 81).numpy()
    figure, axes = plots.panels(len(rel), 4, 1.9, [f"head {head}" for head in range(len(rel))])
    for panel, values in zip(axes, rel, strict=True):
        plots.map_over(panel, values, box=source[0, 0].numpy(), color="white", vmin=0, vmax=rel.max())
    display(figure)
scene, side = make_scenes(1, "arranged", "val", side=48, digits=(4, 4), first=3), 480
RelationExplorer(cxcywh_to_xywh(scene.boxes[0].astype(float)) * side, trained, pixels=scene.pixels[0, 0], size=(side, side))

# %% [markdown]
# ## Here and in the paper
#
# | | here | in the paper | why they differ |
# |---|---|---|---|
# | relation | the same equations; eps, scale and initial numbers of the published code | text has no eps, max(eps, ·) in place of max(0, ·), and the model's width under the root instead of a head's | |
# | decoder | three layers (six in three runs), four or six heads, 16 or 48 queries, no denoising, focal loss | six layers, eight heads, 900 queries, denoising, varifocal loss | must train on a laptop |
# | Figure 2 | our drawing, from live shapes | Deformable DETR's layer beside its own | |
# | Figure 5 | arranged digits, photographs of cells | generic and industrial images | |
# | Table 5, components | gain by the relation not separated from 0 in five seeds, on either layout, nor from that of permuted boxes; on photographs below 0 in all three; hybrid queries lower AP on digits | rows could not be confirmed | scale and length, not separated |
# | Table 6, other detectors | no gain separated from 0, three seeds (Conditional DETR five) | README's rows marked ++ differ in more than the relation | two of ours hardly find digits yet |
# | gain where boxes are related | five sets of boxes, no pattern | suited to task-specific sets, whose MC is said to be higher | no gain to compare |
#
# Not checked: the full model with denoising, longer schedules, published weights; base and hybrid queries from the same initial numbers.
#
# ## Exercises
#
# **1.** Two boxes of one size stand side by side and touch (the second to the right of the first). What is the first number of $e(b_1, b_2)$?
#
# **2.** Write `undo(e)`: from $e(b_i, b_j)$ without eps, four numbers, the first number of $e(b_j, b_i)$. (Both distances are one distance, in units of different widths.)
#
# **3.** A head's Rel is 2 for one box and 0 for the nine others of a row, and all content logits are equal. What weight does the box get?

# %%
answer = None  # exercise 1
check(answer, np.log(2), tolerance=5e-3, hints={2: "That is before the log.", 1: "Close: take the log of 1 + 1.", 0: "Their centres are one width apart."})
undo = None  # exercise 2: widths equal, twice as wide, half as wide
given = {"equal": (2, 1, 2), "twice": (2, 0.5, 1.5), "half": (4, 2, 7)}  # exp(e[0]), exp(e[2]), and what should come out
check_function(undo, {name: ((np.log([x, 1, w, 1]),), np.log(back)) for name, (x, w, back) in given.items()})
answer = None  # exercise 3
check(answer, np.exp(2) / (np.exp(2) + 9), tolerance=2e-3, hints={0.1: "That is the weight without the relation."})

# %% [markdown]
# <details><summary>Solutions</summary>
#
# **1.** $\log(1 + 1) = .693$: the centres are one width apart.
#
# **2.** `lambda e: np.log1p((np.exp(e[0]) - 1) * np.exp(e[2]))`: the distance in units of $w_i$, times $w_i / w_j$.
#
# **3.** $e^2 / (e^2 + 9) = .45$.
# </details>
#
# ## Questions for the group
#
# 1. Self-attention prefers overlapping boxes without being told where they lie. What is left for an explicit relation to do, and in which detector would you look for it?
# 2. $W$ is shared by all layers. What would you expect of six relations of their own, and what would it cost?
# 3. The excess correlation pools place and size. Which statistic of a data set would you correlate with the gain instead?
#
# ## Summary
#
# The position relation multiplies attention weights by exp(Rel), a function of how two boxes lie to each other; it stays as it is when boxes are moved, mirrored and (but for a small constant) scaled. In 34 of 39 Conditional DETRs it gives overlapping boxes more weight than at the start, as NMS would need it, in 25 more than uniform; in nine of other decoders it does not. Yet switched off in a trained detector it changes AP by .0033 at most, and training with it has gains of both signs in five seeds on either layout, as has the same relation with other queries' boxes. Other decoders, one layer's boxes, scale $2\pi$ and other layouts show no gain either, and on photographs AP falls by .01 to .04 in three seeds. Self-attention has that preference without it, and an oracle that deletes duplicates would add .03 to .05 to their AP50 on digits. At the paper's size this may be different. A user removed the relation from DINO++ in the authors' code and got 50.4 AP ([issue 41](https://github.com/xiuqhou/Relation-DETR/issues/41), one report, not verified; the author points at rate and batch); the README has 50.1 for DINO++ with it. No published pair that varies the relation alone could be confirmed.
#
# **Next:** [23_query_groups](23_query_groups.ipynb): which queries see which, and the hybrid queries of the component table.
#
# **References**
#
# ```bibtex
# @inproceedings{hou2024relation,
#   title     = {Relation DETR: Exploring Explicit Position Relation Prior for Object Detection},
#   author    = {Hou, Xiuquan and Liu, Meiqin and Zhang, Senlin and Wei, Ping and Chen, Badong and Lan, Xuguang},
#   booktitle = {European Conference on Computer Vision},
#   year      = {2024},
#   doi       = {10.1007/978-3-031-72973-7_6}
# }
# ```

# %%
print(marginalia.versions("numpy", "torch", "matplotlib", "seaborn"))
