# %% [markdown]
# # Pearson between boxes
#
# **What does it mean that two boxes are correlated, and how large is the number when nothing relates them?**
#
# Paper: Relation DETR (ECCV 2024), the macroscopic correlation behind its Figure 1. About one minute on two CPU cores.
#
# **中文摘要。** Relation DETR 用皮尔逊相关系数衡量同一张图里两个框的“位置相关性”，再对所有框对的系数取绝对值并求平均，得到宏观相关性 MC。本笔记从四个数字的手算开始，说明三件事：MC 的自然零点是 0.5 而不是 0；框很小时，即使毫无关系，MC 平均也能达到 0.75；同样的布局只要平移或镜像，MC 就会大幅变化。因此，单看 MC 的高低不能证明物体之间存在位置关系。
#
# ## What you will see
#
# 1. Pearson's coefficient of two boxes, by hand.
# 2. The macroscopic correlation (MC) of one image, and what moves it.
# 3. Why 0.5 is the level of chance.
# 4. Why small boxes reach 0.75, and why the box format matters.
# 5. How few and how many boxes change the spread.
# 6. A panel, and (7.) an explorer to try it yourself.
#
# You need to know what a mean and a standard deviation are. Real data sets come in the next notebook,
# [21_box_correlation](21_box_correlation.ipynb).

# %%
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import gamma

import marginalia
from marginalia import figures, style
from marginalia.boxes.correlation import macroscopic_correlation, pearson
from marginalia.boxes.uniform import random_layout
from marginalia.controls import with_controls
from marginalia.exercises import check
from marginalia.explorers import BoxExplorer
from marginalia.plots import NEUTRAL, boxes_on, panels
from marginalia.style import CYCLE

style.use_style()
rng = np.random.default_rng(0)

# %% tags=["parameters"]
FAST = True  # fewer random images in the simulations
RETRAIN = False  # nothing is trained in this notebook

# %% [markdown]
# ## 1. Two boxes, eight numbers
#
# **Claim.** Pearson's coefficient compares the *profile* of two boxes: which of the four numbers are above their own
# mean, and by how much. It knows nothing about the image.
#
# A box is $b = (x, y, w, h)$: the top left corner, the width and the height. With $\bar b$ the mean of its four numbers,
#
# $$\rho_{ij} = \frac{\sum_k (b_{ik} - \bar b_i)(b_{jk} - \bar b_j)}
# {\sqrt{\sum_k (b_{ik} - \bar b_i)^2}\,\sqrt{\sum_k (b_{jk} - \bar b_j)^2}}, \qquad k \in \{x, y, w, h\}.$$
#
# Six steps on paper, with small numbers:

# %%
a = np.array([10, 20, 30, 40])  # x, y, w, h
b = np.array([20, 60, 10, 30])
da, db = a - a.mean(), b - b.mean()  # (-15, -5, 5, 15) and (-10, 30, -20, 0)
products = da * db  # 150, -150, -100, 0
rho = products.sum() / np.sqrt((da**2).sum() * (db**2).sum())
print(f"means {a.mean():g} and {b.mean():g}, products {products}, sum {products.sum():g}")
print(f"rho = {products.sum():g} / sqrt({(da**2).sum():g} * {(db**2).sum():g}) = {rho:.4f}")
assert np.isclose(rho, np.corrcoef(a, b)[0, 1], atol=1e-15)  # numpy agrees
assert np.isclose(rho, pearson(np.stack([a, b]))[0, 1], atol=1e-12)  # and so does the library

# %% [markdown]
# **Predict.** Four pairs follow. In the first, the boxes are equal in size and touch. In the second, one is a
# scaled-up copy, far away from the other. In the third, both stand in the lower right half of the image with nothing
# else in common. In the fourth, the two are mirror images of each other, left and right. Which pair has the highest $\rho$?

# %%
pairs = {
    "side by side": [[8, 40, 30, 24], [38, 40, 30, 24]],
    "scaled copy": [[6, 4, 10, 8], [36, 24, 60, 48]],
    "lower right": [[60, 52, 9, 14], [82, 78, 12, 8]],
    "mirrored": [[5, 30, 20, 40], [75, 30, 20, 40]],
}
rho_of = {title: pearson(np.array(two, float))[0, 1] for title, two in pairs.items()}
assert np.isclose(rho_of["scaled copy"], 1, atol=1e-12) and rho_of["lower right"] > 0.9
assert min(rho_of, key=rho_of.get) == "mirrored"  # the lowest rho ...
assert min(rho_of, key=lambda title: abs(rho_of[title])) == "side by side"  # ... but not the lowest |rho|

# %% tags=["hide-input"]
figure, axes = panels(8, 4, 1.9, height_ratios=(1.2, 1))
for above, below, (title, two) in zip(axes[:4], axes[4:], pairs.items(), strict=True):
    boxes_on(above, two, (100, 100), color=CYCLE[:2], labels="AB", fill=0.25)
    above.set_title(f"{title}\nρ = {rho_of[title]:+.2f}")
    for box, marker, color, name in zip(two, "os", CYCLE[:2], "AB", strict=True):
        below.plot(list("xywh"), box, marker=marker, color=color, label=name)
    below.set(ylim=(0, 90), yticks=(0, 40, 80))
axes[4].set_ylabel("value (pixels)")
axes[4].legend(loc="upper right", handlelength=1.2)
rows = [(title, name, *box, rho_of[title]) for title, two in pairs.items() for name, box in zip("AB", two, strict=True)]
data = pd.DataFrame(rows, columns=["pair", "box", *"xywh", "rho"])
figures.save(figure, "extra/pearson-profiles", data)
figure

# %% [markdown]
# **Notice.** The curves below the boxes are all that $\rho$ sees. A scaled copy has the same profile up to a factor, so
# $\rho = 1$. Two unrelated boxes in the lower right are above 0.9, only because $x$ and $y$ are large and $w$ and
# $h$ are small in both. The mirrored pair, the tidiest relation of all, has the lowest $\rho$, a negative one. MC, which comes next, takes
# $|\rho|$, and there the pair side by side is lowest.
#
# ## 2. From pairs to an image: MC
#
# **Claim.** The paper reads an image as a complete graph whose edges weigh $|\rho_{ij}|$, and takes the mean edge:
#
# $$\mathrm{MC} = \frac{1}{N(N-1)} \sum_{i} \sum_{j \neq i} |\rho_{ij}|.$$
#
# $N$ is the number of boxes in the image. The authors' code uses raw pixels with the top left corner, and so do we unless
# a notebook says otherwise.

# %%
eight = np.array([
    (0.05, 0.08, 0.10, 0.04), (0.20, 0.03, 0.06, 0.12), (0.30, 0.10, 0.05, 0.05), (0.10, 0.22, 0.12, 0.08),
    (0.02, 0.30, 0.04, 0.09), (0.25, 0.25, 0.08, 0.03), (0.33, 0.30, 0.06, 0.06), (0.15, 0.35, 0.05, 0.04),
])  # fmt: skip
figure = BoxExplorer(1000 * eight, size=(1000, 1000), labels="ABCDEFGH").static()
data = pd.DataFrame(combinations("ABCDEFGH", 2), columns=["first", "second"])
data["correlation"] = pearson(1000 * eight)[np.triu_indices(8, 1)]
figures.save(figure, "extra/pearson-matrix", data)
figure

# %% [markdown]
# **Predict.** Now the same eight boxes move together, to the right and down. Nothing about their layout changes. Will MC stay
# where it is?

# %%
def mc(boxes):
    """MC of one image, straight from the formula."""
    n = len(boxes)
    return (np.abs(pearson(boxes)).sum() - n) / (n * (n - 1))


moved = {f"moved by {t:g}": eight + np.array([t, t, 0, 0]) for t in (0, 0.2, 0.4, 0.6)}
mirrored = np.column_stack([1 - eight[:, 0] - eight[:, 2], eight[:, 1:]])
line = np.column_stack([np.arange(10) / 10, np.full(10, 0.5), np.full((10, 2), 0.05)])
lattice = [((i + 0.5) / 10 - 0.01, (j + 0.5) / 10 - 0.01, 0.02, 0.02) for i in range(10) for j in range(10)]
diagonal = np.array([(t, t, 0.05, 0.05) for t in np.arange(1, 9) / 10])
others = {"mirrored": mirrored, "a row": line, "a lattice": np.array(lattice), "on the diagonal": diagonal}
layouts = moved | others
data = pd.DataFrame([(title, len(boxes), mc(boxes)) for title, boxes in layouts.items()], columns=["arrangement", "boxes", "mc"])
value = data.set_index("arrangement")["mc"]
assert np.allclose(value[list(moved)], [0.513, 0.860, 0.945, 0.971], atol=5e-4)
assert np.isclose(value["mirrored"], 0.961, atol=5e-4)
assert np.isclose(value["on the diagonal"], 1, atol=1e-12)
assert value["a lattice"] < 0.75

# %%
figure, axes = panels(8, 4, 2)
for panel, (title, boxes) in zip(axes, layouts.items(), strict=True):
    boxes_on(panel, boxes, fill=0.25)
    panel.set_title(f"{title}\nMC = {value[title]:.3f}")
figures.save(figure, "extra/pearson-layouts", data)
figure

# %% [markdown]
# **Notice.** The same layout runs from 0.51 to 0.97 while it moves, because the common offset swells $x$ and $y$ in every
# box. A perfect lattice stays near what scattered points give (0.75, below), and squares on the diagonal reach exactly 1, since
# each is the other plus and times a constant. MC is not a measure of layout.
#
# What does leave MC alone: the order of the boxes, one common scale for all, and for each box its own factor and its own
# constant added to all four numbers.

# %%
scaled = 7.3 * eight[rng.permutation(8)]
stretched = eight * rng.uniform(0.5, 2, (8, 1)) + rng.uniform(-1, 1, (8, 1))
assert np.allclose([mc(scaled), mc(stretched)], mc(eight), atol=1e-12)

# %% [markdown]
# ## 3. The level of chance is 0.5
#
# **Claim.** Four unrelated numbers against four unrelated numbers give $\mathbb{E}|\rho| = 1/2$, not 0.
#
# Take independent normal numbers. Subtracting the mean leaves three free numbers, dividing by the length puts them on a sphere, with no direction
# preferred. $\rho$ is the cosine of two points there, and on the ordinary sphere in three dimensions the cosine of two random points is *uniform* on
# $[-1, 1]$: Archimedes' theorem that slices of equal height have equal area. (Uniform or exponential numbers give 0.500 too.) For $n$ numbers
# instead of four,
#
# $$\mathbb{E}|\rho| = \frac{\Gamma\!\left(\frac{n-1}{2}\right)}{\sqrt{\pi}\,\Gamma\!\left(\frac{n}{2}\right)}.$$

# %%
lengths = (3, 4, 5, 6, 8, 16, 64)
samples = {}
for n in lengths:
    first, second = rng.standard_normal((2, 100_000, n))
    first -= first.mean(axis=1, keepdims=True)
    second -= second.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    samples[n] = (first * second).sum(axis=1) / norms
theory = {n: gamma((n - 1) / 2) / (np.sqrt(np.pi) * gamma(n / 2)) for n in lengths}
simulated = {n: np.abs(rho).mean() for n, rho in samples.items()}
assert np.isclose(theory[4], 0.5, atol=1e-15)
assert np.allclose(list(simulated.values()), list(theory.values()), atol=0.004)  # 4 standard errors of 100,000 pairs
uniform_moments = [1 / 3, 1 / 5]  # second and fourth moment of a uniform cosine
assert np.allclose([np.mean(samples[4] ** 2), np.mean(samples[4] ** 4)], uniform_moments, atol=0.005)

# %% tags=["hide-input"]
figure, (left, right) = panels(2, 2, 2.9)
edges = np.linspace(-1, 1, 41)
for color, n in zip(CYCLE, (3, 4, 8, 64), strict=False):
    width = 2.4 if n == 4 else 1.2
    left.stairs(np.histogram(samples[n], edges, density=True)[0], edges, color=color, linewidth=width, label=f"{n} numbers")
left.set(xlabel="ρ of two unrelated vectors", ylabel="density", xlim=(-1, 1), ylim=(0, 2.2), xticks=np.linspace(-1, 1, 5))
left.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
right.semilogx(theory.keys(), theory.values(), color=NEUTRAL, label="closed form")
right.semilogx(simulated.keys(), simulated.values(), "o", color=CYCLE[1], label="simulated")
right.annotate("a box: 4 numbers", (4, 0.5), (9, 0.56), arrowprops={"arrowstyle": "->", "color": NEUTRAL})
right.set(xticks=lengths, xticklabels=lengths, xlabel="numbers in a vector, n", ylabel="mean of |ρ|", ylim=(0, 0.7))
right.minorticks_off()
right.legend()
data = pd.DataFrame({"n": lengths, "simulated": simulated.values(), "theory": theory.values()})
figures.save(figure, "extra/pearson-chance-level", data)
figure

# %% [markdown]
# **Notice.** For four numbers the density is flat: a correlation of 0.95 is as usual as one of 0.05. Longer vectors would have
# made a better statistic; a box has only four numbers. "MC is far from zero" therefore says nothing, for the
# natural zero is 0.5.
#
# ## 4. Small boxes start at 0.75
#
# **Predict.** Boxes are now real boxes: their sides are uniform between 0 and $s$ (normalised to the image size), their places
# are uniform and independent, and they lie fully inside. Nothing relates them. How does MC change when $s$ goes to zero?

# %%
IMAGES = 400 if FAST else 4000  # behind each point
sides = (1, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001)
rows = []
for box_format in ("xywh", "cxcywh", "xyxy"):
    for s in sides:
        per_image = macroscopic_correlation(random_layout(10, s, IMAGES, seed=1), box_format=box_format)
        rows.append((s, box_format, per_image.mean(), *np.quantile(per_image, [0.05, 0.95])))
curves = pd.DataFrame(rows, columns=["side", "box_format", "mean", "low", "high"])
u, v = rng.uniform(size=(2, 200_000, 2))
points = np.column_stack([u, np.zeros_like(u)]), np.column_stack([v, np.zeros_like(v)])
centred = [p - p.mean(axis=1, keepdims=True) for p in points]
norms = [np.linalg.norm(p, axis=1) for p in centred]
point_limit = np.abs((centred[0] * centred[1]).sum(axis=1) / (norms[0] * norms[1])).mean()
small = curves[curves["side"] == 0.001].set_index("box_format")["mean"]
assert np.isclose(point_limit, 0.751, atol=0.004)
assert np.allclose(small[["xywh", "cxcywh"]], point_limit, atol=0.012)  # 400 images of 10 boxes: s.e. 0.004
assert small["xyxy"] > 0.99

# %% tags=["hide-input"]
figure, (axes,) = panels(1, 1, 3.1)
names = {"xywh": "top left corner, w, h", "cxcywh": "centre, w, h", "xyxy": "two corners"}
for color, marker, (box_format, name) in zip(CYCLE, "os^", names.items(), strict=False):
    curve = curves[curves["box_format"] == box_format]
    axes.semilogx(curve["side"], curve["mean"], color=color, marker=marker, label=name)
    if box_format == "xywh":
        axes.fill_between(curve["side"], curve["low"], curve["high"], color=color, alpha=0.15, linewidth=0)
for level, line, note in ((0.5, "--", "four unrelated numbers"), (point_limit, ":", "points")):
    axes.axhline(level, color=NEUTRAL, linewidth=1, linestyle=line)
    axes.annotate(f"{note}: {level:.2g}", (1, level), xytext=(1.5, level), fontsize=8, color=NEUTRAL, va="center", annotation_clip=False)
axes.set(xlabel="largest side s, normalised to the image size", ylabel="MC of unrelated boxes")
axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, title="mean (band: 5 to 95 % of images) by box format", alignment="left")
figures.save(figure, "extra/pearson-size", curves)
figure

# %% [markdown]
# **Notice.** Small boxes all share one profile, "$x$ and $y$ large, $w$ and $h$ nearly zero", so two unrelated specks already
# agree to 0.75. A data set of small defects scores high without any relation between its boxes. And the answer depends on
# the box format: with two corners, specks go to 1, since $x_1 \approx x_2$ and $y_1 \approx y_2$. At $s = 1$ the curves rise again: boxes that
# may be as large as the image and must lie inside have small $x$ and $y$ together with large $w$ and $h$, once more a common profile.
#
# ## 5. Few boxes, wide spread; many boxes, a bound
#
# **Claim.** Under independence the *mean* of MC does not depend on $N$, its *spread* does; and MC cannot be small for many
# boxes at all. $N$ unit vectors in three dimensions have $\sum_{ij} \rho_{ij}^2 \ge N^2 / 3$ (a frame bound: no more than three directions can be orthogonal to each other).
# Since $|\rho| \ge \rho^2$ and the $N$ diagonal terms are 1, $\mathrm{MC} \ge \frac{N-3}{3(N-1)}$, which tends to $1/3$.

# %%
counts = (2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100)
rows = []
for n in counts:
    values = np.array([mc(rng.standard_normal((n, 4))) for _ in range(IMAGES)])
    rows.append((n, values.mean(), *np.quantile(values, [0.05, 0.95]), max(0, (n - 3) / (3 * (n - 1))), values.min()))
bands = pd.DataFrame(rows, columns=["boxes", "mean", "low", "high", "bound", "lowest"])
assert (bands["lowest"] >= bands["bound"]).all()
assert np.allclose(bands["mean"], 0.5, atol=0.06)  # N = 2: standard deviation 0.29 over 400 images
assert bands["high"].iloc[0] - bands["low"].iloc[0] > 0.8  # two boxes: anything can happen

# %% tags=["hide-input"]
figure, (axes,) = panels(1, 1, 3.1)
axes.fill_between(bands["boxes"], bands["low"], bands["high"], color=CYCLE[0], alpha=0.2, linewidth=0)
axes.semilogx(bands["boxes"], bands["mean"], color=CYCLE[0], label="unrelated numbers: mean, 5 to 95 %")
axes.semilogx(bands["boxes"], bands["bound"], color=NEUTRAL, linestyle="--", label="no MC below this line")
for name, n in (("a row", 10), ("a lattice", 100)):
    axes.plot(n, value[name], "D", color=CYCLE[1], markersize=5)
    axes.annotate(name.removeprefix("a "), (n, value[name]), xytext=(6, 4), textcoords="offset points")
ticks = [2, 3, 5, 10, 20, 50, 100]
axes.set(xlabel="boxes in the image, N", ylabel="MC", ylim=(0, 1), xticks=ticks, xticklabels=ticks)
axes.minorticks_off()
axes.legend(loc="lower right")
figures.save(figure, "extra/pearson-count", bands)
figure

# %% [markdown]
# **Notice.** An image with two boxes says next to nothing: its MC is $|\rho|$ of one pair, spread over the whole range. The band is for unrelated *numbers*. The two
# diamonds are the row and the lattice of section 2: far above that band, and yet no more than the 0.75 of small boxes in random places.
#
# ## 6. Try it: how MC of unrelated boxes is distributed
#
# The panel draws images with $N$ independent boxes and shows how their MC is spread. First as a figure, then to play with.

# %%
def unrelated(boxes=6, largest_side=0.3, box_format="xywh"):
    """One of IMAGES images with independent boxes, and how MC is spread over them."""
    table = random_layout(boxes, largest_side, IMAGES)
    values = macroscopic_correlation(table, box_format=box_format)
    figure, (left, right) = panels(2, 2, 2.6, width_ratios=(1, 2.4))
    boxes_on(left, table.xywh[table.image == 0], fill=0.25)
    left.set_title("one of the images")
    low, high = np.quantile(values, [0.05, 0.95])
    right.hist(values, bins=np.linspace(0, 1, 41), color=CYCLE[0], alpha=0.6)
    right.axvspan(low, high, color=CYCLE[0], alpha=0.12, linewidth=0)
    right.axvline(values.mean(), color=CYCLE[1], linewidth=2)
    right.set_title(f"mean {values.mean():.2f}, 90 % of images in {low:.2f} to {high:.2f}")
    right.set(xlabel=f"MC ({box_format})", ylabel=f"images of {IMAGES}", xlim=(0, 1))
    return figure, pd.DataFrame({"image": np.arange(IMAGES), "mc": values})


figure, data = unrelated()
figures.save(figure, "extra/pearson-unrelated", data)
figure

# %%
with_controls(unrelated, boxes=(2, 40), largest_side=sorted(sides), box_format=["xywh", "cxcywh", "xyxy"])

# %% [markdown]
# ## 7. Move the boxes yourself
#
# Drag boxes, pull their corners, press N for a new one and Delete to remove one. The band on the MC scale is where 90 % of
# images lie that have boxes of the same sizes in random places. This layout starts below it: can you bring it inside without changing a size, and out at
# the other end?

# %%
explorer = BoxExplorer(np.round(eight[:5] * [640, 480, 640, 480], 1), size=(640, 480))
explorer

# %% [markdown]
# ## Here and in the paper
#
# | quantity | here | in the paper | why they differ |
# |---|---|---|---|
# | definition of MC | mean of $\lvert\rho\rvert$ over ordered pairs | the same | |
# | box | top left corner, $w$, $h$ in pixels | "[x, y, w, h]" in the text, raw pixels in the code | the paper's relation encoder uses centres instead |
# | MC of unrelated numbers | 0.5 | not mentioned in what we could read of the paper | |
# | MC of unrelated small boxes | 0.75 | not mentioned in what we could read of the paper | |
#
# The paper concludes from high MC that relations exist. This notebook only shows that the level cannot carry that conclusion;
# whether something is left after the right comparison is a question for data, and the next notebook's.
#
# ## Exercises
#
# **1.** Two boxes $(0, 0, 10, 20)$ and $(50, 30, 10, 20)$: what is $\rho$?

# %%
answer = None
two = np.array([[0, 0, 10, 20], [50, 30, 10, 20]])
right = pearson(two)[0, 1]
check(answer, right, hints={-right: "MC takes the absolute value, Pearson keeps the sign."})

# %% [markdown]
# <details><summary>Solution</summary>
#
# The means are 7.5 and 27.5, the deviations $(-7.5, -7.5, 2.5, 12.5)$ and $(22.5, 2.5, -17.5, -7.5)$. Their products sum to
# $-325$; the squares to 275 and 875. $\rho = -325 / \sqrt{275 \cdot 875} \approx -0.6625$.
# </details>
#
# **2.** What is the lowest MC that twelve boxes can have according to the bound of section 5?

# %%
answer = None
hints = {9 / 36: "The bound divides by 3(N-1), not by 3N.", 1 / 3: "That is the limit for many boxes."}
check(answer, 9 / 33, hints=hints)

# %% [markdown]
# <details><summary>Solution</summary>
#
# $(12 - 3) / (3 \cdot 11) = 0.2727$.
# </details>
#
# **3.** Place five equal squares so that MC is exactly 1, without using the diagonal of the image. Is it possible? Try with the explorer,
# then prove it.
#
# <details><summary>Solution</summary>
#
# With $w = h = d$ the profile is $(x, y, d, d)$. Two profiles are linearly related exactly if $(x_1 - d) : (y_1 - d) = (x_2 - d) : (y_2 - d)$:
# all corners lie on one line through the point $(d, d)$. Any such line will do; the diagonal is one of them.
# </details>
#
# ## Questions for the group
#
# 1. Which property of an image would you like a position statistic to be blind to, and which should it see? Which of them does MC satisfy?
# 2. The encoder of Relation DETR never sees $\rho$; it sees log ratios of sizes and offsets. Does it matter for the method whether MC is a good statistic?
# 3. A colleague reports MC = 0.77 on circuit boards and 0.65 on COCO and concludes that boards are more regular. What do you ask for first?
#
# ## Summary
#
# MC is the mean absolute Pearson coefficient of four-number profiles. Unrelated numbers give 0.5, unrelated small boxes 0.75, and a fixed
# layout gives almost anything depending on where it stands. The level alone is no evidence; a matched comparison is needed.
#
# **Next:** [21_box_correlation](21_box_correlation.ipynb) makes that comparison on real data sets.
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
print(marginalia.versions("numpy", "matplotlib", "ipywidgets", "anywidget"))
