# %% [markdown]
# # The position relation: boxes that bias attention
#
# **What does it change when a query knows how all other boxes lie to its own?**
#
# Paper: Relation DETR (ECCV 2024), its Figures 2 and 5 and Tables 5 and 6. About one minute to run on two CPU cores, 30 minutes to read.
#
# **中文摘要。** Relation DETR 在解码器的自注意力里加入一个由框的相对位置算出的偏置：两框中心距离与尺寸之比取对数，做正弦嵌入，经一个线性层和 ReLU，得到每个头的 Rel，再加到 q·k 上——等价于把注意力权重乘以 exp(Rel)。
# 本笔记先用十几行代码写出它并与库函数核对，再用图检验平移、镜像、缩放不变性（以及 eps 在哪里破坏它），画出论文的图 2 与图 5，
# 然后在小模型上逐种子地回答：它有没有用？是否像 NMS？是否先局部后全局？对位置关系越强的数据是否越有用？
# 结论要诚实：RESULT_ZH
#
# ## What you will see
#
# 1. The paper's idea in a few lines of code.
# 2. Where it sits in the decoder, and why six layers have five relations.
# 3. What it does not change under: moving, mirroring, scaling; and where a small constant breaks the last.
# 4. What heads make of the geometry, before and after training, and which objects an object looks at.
# 5. Whether the relation works like non-maximum suppression, and whether it goes from local to global.
# 6. Whether it helps, seed by seed, and whether more where boxes are related.
# 7. What it costs with 1,500 objects, and how to look into published weights.
#
# You need to know decoder queries and their references ([14_anchor_boxes](14_anchor_boxes.ipynb)) and, for section 6, the excess correlation ([21_box_correlation](21_box_correlation.ipynb)). *NMS*, non-maximum suppression, deletes
# a detection that overlaps a surer one; detectors with queries do without.

# %%
import numpy as np
import pandas as pd
import seaborn
import torch
from IPython.display import display

import marginalia
from marginalia import figures, plots, style
from marginalia.detection import DetectorConfig, as_boxes, build, load, make_scenes
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
# Embed writes each of the four numbers as sines and cosines of eight frequencies, 100 down to .03; $W$ (heads × 64) and $B$ are learned: 520 numbers with eight heads. Row $i$ attends, column $j$ is attended. First by hand, for two boxes; the second lies a box width and a half to the right.

# %%
boxes = torch.tensor([[0.30, 0.40, 0.10, 0.20], [0.45, 0.50, 0.20, 0.10]], dtype=torch.float64)
(x_i, y_i, w_i, h_i), (x_j, y_j, w_j, h_j) = boxes
by_hand = [abs(x_i - x_j) / w_i + 1, abs(y_i - y_j) / h_i + 1, w_i / w_j, h_i / h_j]  # before the log
print("as multiples:", *(f"{value:.2f}" for value in by_hand))
print("e(b_1, b_2): ", *(f"{value.log():+.3f}" for value in by_hand))

# %% [markdown]
# The same for all pairs, with the published code's $10^{-5}$ beside widths and heights; then the embedding, and the bias.

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

# %%
assert torch.allclose(geometry(boxes, boxes, eps=0)[0, 1].exp(), torch.stack(by_hand))
assert torch.allclose(Rel, relation(some[None], some[None])[0], atol=1e-4)  # the library, which keeps 32-bit frequencies
assert sum(p.numel() for p in relation.parameters()) == 520
q, k = torch.randn(2, 8, 40, 32, dtype=torch.float64)  # (H, N, D) each
plain = (q @ k.mT / 32**0.5).softmax(-1)
biased = (q @ k.mT / 32**0.5 + Rel).softmax(-1)  # the paper's attention
multiplied = plain * Rel.exp()
assert torch.allclose(biased, multiplied / multiplied.sum(-1, keepdim=True))  # exp(Rel) multiplies
assert torch.allclose(biased, (q @ k.mT / 32**0.5 + Rel + 5).softmax(-1))  # what a whole row gets does nothing

# %% [markdown]
# **Notice.** exp(Rel) *multiplies* attention weights before they are normalised. Rel is never negative, so a head can only favour some boxes over the others, and a bias that is the same for a whole row has no effect: one number that ReLU has cut to 0 everywhere (a *dead* head) is no relation at all.
#
# What do two boxes have to be like for a large Rel? Put a box in the middle of the image and move a partner of the same size about. **Predict** which of these four maps a linear layer can use to tell "near" from "far".

# %%
axis = torch.linspace(0, 1, 81)
partner = torch.stack([*torch.meshgrid(axis, axis, indexing="xy"), *torch.tensor([0.2, 0.1])[:, None, None].expand(2, 81, 81)], -1).flatten(0, 1)
source = torch.tensor([[[0.5, 0.5, 0.2, 0.1]]])
e = relative_geometry(source, partner[None])[0, 0]  # (81 * 81, 4)
waves = embed(e, relation.frequency)  # (81 * 81, 64): 16 for each number, sine and cosine in turn
shown = {"$|x_i - x_j|$ part of $e$": e[:, 0], "its sine, frequency 100": waves[:, 0], "frequency 10": waves[:, 4], "frequency 1": waves[:, 8]}
figure, axes = plots.panels(4, 4, 2.2)
for panel, (name, values) in zip(axes, shown.items(), strict=True):
    diverging = {"vmin": -1, "vmax": 1, "cmap": style.DIVERGING} if "freq" in name else {}
    plots.map_over(panel, values.reshape(81, 81).numpy(), box=source[0, 0].numpy(), color="black", **diverging)
    panel.set_title(name, fontsize=8)
figures.save(figure, "extra/relation-geometry", pd.DataFrame({name: values for name, values in shown.items()}).round(4))
figure

# %% [markdown]
# **Notice.** The distance itself is smooth; at frequency 100 its sine changes sign some 45 times from the box to the border, and two boxes that differ by a hundredth of a width get unlike codes. Frequency 1 still rises and falls once. So *scale* 100, which the author chose ad hoc ([issue 31](https://github.com/xiuqhou/Relation-DETR/issues/31)), spends half of
# the code on differences far below a box; section 6 tries $2\pi$.
#
# ## 2. In the decoder
#
# **Claim.** The relation sits beside self-attention, takes boxes of *two* layers (rows: those of the layer before, columns: the newest), and one $W$ serves all layers. This is the paper's Figure 2, drawn by us from the shapes of a live pass.

# %%
figure, data = relation_detr.decoder_layer()
assert len(data) == 5 and data["layer"].tolist() == [2, 3, 4, 5, 6] and set(data["shape"]) == {(1, 8, 12, 12)}
figures.save(figure, "relation-detr/decoder-layer", data)
figure

# %% [markdown]
# Drawn by [`figures.relation_detr.decoder_layer`](../lib/marginalia/figures/relation_detr.py).
#
# **Notice.** *Why five relations for six layers?* ([issue 20](https://github.com/xiuqhou/Relation-DETR/issues/20)) A relation needs boxes before and after some layer, and the first layer has only what it starts from. Since rows and columns are boxes of different layers, a box is a little off from itself: the diagonal of $e$ is not 0. No gradient goes through
# the boxes; only $W$ and $B$ learn.

# %%
model = build(DetectorConfig(decoder_layers=3, relation="two layers"))
output = model(torch.rand(1, 1, 64, 64))
model.decoder.relation(output.boxes[0], output.boxes[1]).sum().backward()
assert model.decoder.relation.projection.weight.grad.any()
assert all(p.grad is None for p in model.decoder.box_head.parameters())

# %% [markdown]
# ## 3. What it does not see
#
# **Claim.** $e$ stays as it is when all boxes are moved or mirrored, and when an axis is scaled: a photograph and its smaller copy have one relation. The last holds without the small constant only. **Predict** for which boxes it fails.

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
assert (scaled.loc["half", "e"] < 1e-5 / scaled.loc["half", "side"]).all() and scaled.loc["a tenth"].query("side >= .02")["e"].max() < 4.5e-3

# %% tags=["hide-input"]
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
