# %% [markdown]
# # Features beside Gaussian clouds
#
# **What is in the persistence diagram of latent features that a Gaussian cloud of the same mean and covariance does not have?**
#
# Papers: TopKD (ICML 2024), which compares H0 diagrams of batches of 64 features; Langsrud, Rotation tests (2005), for the method. No figure of theirs is redrawn here. Half a minute to run on two CPU cores, 25 minutes to read.
#
# **中文摘要。** 持续图同时反映三件事：点云的大小（尺度）、方差在各方向上的分布（协方差），以及其余的一切（形状）。本笔记把每个特征点云与均值、协方差完全相同的高斯点云比较，用旋转检验和置换检验给出 p 值，并作 Holm 校正。数据是手写数字分类器的各层、各训练阶段（五个随机种子），以及小型检测器学到的查询和解码器输出。结果：分类器的特征从像素起就不是高斯的，训练新增的“形状”主要是十个类的均值；用 H0 无法把学到的查询与高斯点区分开，而解码器的输出则可以区分。也可以换成读者自己的特征。
#
# ## What you will see
#
# 1. Clouds with exactly the mean and covariance of a given one, and an exact test.
# 2. A classifier of digits, layer by layer, beside one Gaussian and beside ten.
# 3. The same while it learns: which part is scale, covariance, shape?
# 4. Loops, and a distance that overlooks them.
# 5. Queries of detectors, and all p-values corrected.
#
# You need to know what H0, H1 and a death are ([31_persistence_diagrams](31_persistence_diagrams.ipynb)), and what a p-value is.

# %%
from itertools import combinations

import gudhi.hera
import numpy as np
import pandas as pd
import torch
from IPython.display import display
from scipy.linalg import null_space
from scipy.spatial.distance import pdist, squareform
from scipy.stats import binomtest, ortho_group

import marginalia
from marginalia import figures, plots, style
from marginalia.detection import load, make_scenes
from marginalia.exercises import check, check_function
from marginalia.statistics import rank_correlation
from marginalia.topology import collect_features, diagrams, gaussian_references, h0_deaths, read_features
from marginalia.topology.digits import digits, train_teacher

style.use_style()
BLUE, RED, GREEN, GREY = *style.CYCLE[:3], plots.NEUTRAL
COLORS = {"one Gaussian": GREY, "ten Gaussians": style.PALETTE["orange"]}
LAYERS = {"layer 1": "1", "layer 2": "3", "logits": "4"}  # of the classifier, and the names of its modules

# %% tags=["parameters"]
FAST = True  # False: classifiers learn for 800 steps, not 320
RETRAIN = False  # detectors are loaded; the classifiers always learn here, in seconds
SEED = 0  # of the first of five classifiers, and of the choice of test images
FEATURES = None  # a .npy, .npz, .pt or .pth file with (N, D) features or K independent clouds (K, N, D);
# at most 9 clouds and 200 points of each are taken
ARRAY = None  # name of the array in it, where there are several

# %% [markdown]
# ## 1. An exact test
#
# **Claim.** Let $X$ be a cloud, $N \times D$, the columns of $F$, $N \times (N - 1)$, orthonormal and orthogonal to the constant vector, and $Q$ a uniform random rotation or reflection. Then
#
# $$X' = \bar X + F\,Q\,F^\top X$$
#
# has the mean and the covariance of $X$ *exactly*, and with them its total variance and the root mean square (RMS) of its pairwise distances. If the points of $X$ are independent draws of *one Gaussian*, $X$ and $M$ such clouds are exchangeable: a test in which $X$ is one of $M + 1$ is exact, also for $N < D$. With the indicators of ten classes in place of the constant, the reference is *ten Gaussians*: class means as they are, one covariance within classes.
#
# **Predict.** Below is a noisy ring of 30 points. What does a cloud of the same mean and covariance look like, and where is its largest loop?

# %%
rng = np.random.default_rng(0)
angles = 2 * np.pi * np.arange(30) / 30
x = np.c_[np.cos(angles), np.sin(angles)] + rng.normal(0, 0.05, (30, 2))
f = null_space(np.ones((1, 30)))  # (N, N - 1)
q = ortho_group.rvs(29, random_state=np.random.default_rng(0))  # (N - 1, N - 1)
turned = x.mean(0) + f @ q @ f.T @ x
assert np.allclose(turned, gaussian_references(x, 1, seed=0)[0])
assert np.allclose(turned.mean(0), x.mean(0)) and np.allclose(np.cov(turned.T), np.cov(x.T))

# %%
figure, panels = plots.panels(3, 3, 2.3)
found = diagrams([x, turned]).finite(1)
for axes, points, name, color in zip(panels, (x, turned), ("ring", "its reference"), (BLUE, GREY), strict=False):
    axes.plot(*points.T, "o", color=color, markersize=3)
    axes.set(aspect="equal", xlim=(-2.5, 2.5), ylim=(-2.5, 2.5), title=name)
plots.persistence_diagram(panels[2], found, names=["ring's loops", "reference's loops"], colors=[BLUE, GREY])
panels[2].legend(loc="lower right")
figures.save(figure, "extra/gaussians-ring", pd.DataFrame(np.c_[x, turned], columns=["x", "y", "x'", "y'"]))
figure

# %% [markdown]
# **Notice.** The reference has the ring's mean and covariance, and no ring: its points are spread like a Gaussian's. The ring's long loop is shape; no covariance accounts for it.
#
# **The test.** As distance of two H0 diagrams we take the 1-Wasserstein distance of the deaths, $\frac{1}{N-1}\sum_k |t_k - t'_k|$. A cloud's *oddness* is its mean distance to the other $M$. In each of $K$ independent clouds, choose one of the $M + 1$ at random; how often is the sum of their oddness at least that of the real ones? Deaths are divided by the RMS distance: scale is out.


# %%
def oddness(deaths):
    """Mean 1-Wasserstein distance of the deaths (M + 1, N - 1) of each cloud to those of the others."""
    return squareform(pdist(deaths, "cityblock")).sum(1) / deaths.size


def p_value(scores, permutations=9999):
    """Share of choices, one of each row of (K, M + 1), that deviate at least as far as the first column."""
    scores, rng = np.asarray(scores), np.random.default_rng(0)
    chosen = rng.integers(scores.shape[1], size=(len(scores), permutations))
    null = np.append(np.take_along_axis(scores, chosen, 1).sum(0), scores[:, 0].sum())
    null = scores[0] if len(scores) == 1 else null  # of one row all choices
    return (np.abs(null) >= abs(scores[:, 0].sum()) * (1 - 1e-12)).mean()


# %%
def with_references(x, *options):
    """A cloud, then its references: (M + 1, N, D)."""
    return np.concatenate([x[None], gaussian_references(x, *options)])


def rms(xs):
    """Root mean square of the pairwise distances of each cloud (..., N, D)."""
    return np.sqrt(2 * np.var(xs, axis=-2, ddof=1).sum(-1))


assert np.isclose(rms(x), np.sqrt((pdist(x) ** 2).mean())) and np.isclose(rms(x), rms(turned))

# %% [markdown]
# **Is the test right?** Where clouds *are* Gaussian, $p \le .05$ must come in 5 % of the cases, 10 of 200. Where points come in two groups, $p$ must be small.

# %%
gaussian = rng.normal(size=(200, 3, 16, 8)) * np.arange(1, 9)  # 200 times three clouds, uneven covariance
halves = gaussian[0] + 200 * (np.arange(16) < 8)[:, None]  # two groups of points in each of three clouds
p = []
for i, xs in enumerate([*gaussian, halves]):
    stacks = [with_references(x, 19, None, [i, k]) for k, x in enumerate(xs)]
    p.append(p_value([oddness(h0_deaths(stack)) for stack in stacks]))
below = int((np.array(p[:-1]) <= 0.05).sum())
print(f"Gaussian clouds: p <= .05 in {below} of 200; clouds of two groups: p = {p[-1]:.4f}")
assert binomtest(below, 200, 0.05).pvalue > 0.001 and p[-1] < 0.01

# %% [markdown]
# ## 2. A classifier, layer by layer
#
# Five classifiers of digits learn with five seeds: pixels, layers of 256 and 64 units with ReLU, ten logits. Each shows 64 test images of its own, TopKD's size of a batch, at its start and at eight later moments. Training images are shared, no test image is used twice. With `FEATURES` your clouds take their place.

# %%
test, seen = digits()[1], {}  # seen: (layer, step) -> K clouds
whole = None if FEATURES is None else read_features(FEATURES, ARRAY)
shown = np.random.default_rng(SEED).permutation(len(test.x))[:320].reshape(5, 64)  # test images of each seed


def follow(number, steps):
    """Keep the features of classifier 0 to 4 at the start and while it learns; its test accuracy."""

    def keep(model, made):
        for name, layer in LAYERS.items():
            features = collect_features(model, [test.x[shown[number]]], layer)[0].double().numpy()
            seen.setdefault((name, made), []).append(features)
        return {"accuracy": test.accuracy(model)}

    keep(train_teacher(SEED + number, 0)[0], 0)
    return train_teacher(SEED + number, steps, keep)[1][-1]["accuracy"]


# %%
if FEATURES is None:
    last = 320 if FAST else 800
    print("test accuracy by seed:", np.round([follow(number, last) for number in range(5)], 3))
    clouds = {"pixels": test.x.double().numpy()[shown]} | {name: np.stack(seen[name, last]) for name in LAYERS}
    LABELS = {"one Gaussian": [None] * 5, "ten Gaussians": test.y.numpy()[shown]}
else:
    clouds = {"your file": whole[:9, np.random.default_rng(SEED).permutation(whole.shape[1])[:200]].astype(float)}
    LABELS = {"one Gaussian": [None] * len(clouds["your file"])}
    print(f"Of your file {whole.shape} {clouds['your file'].shape} are used: ten Gaussians, training and detectors need labels and models.")

# %% [markdown]
# **Predict.** A trained class is a tight group. Are H0 deaths of features larger or smaller than those of Gaussian clouds of the same covariance? And those of the pixels, which nobody trained?

# %%
tests = []  # a row a test


def note(name, reference, distance, sizes, scores):
    """Add a row to the table of tests; sizes (K, M + 1), scores (K, M + 1), or (1, M + 1) for one test."""
    ratio = sizes[:, 0] / np.where(sizes.any(1), sizes[:, 1:].mean(1), np.nan)
    row = {"features": name, "reference": reference, "distance": distance}
    row |= {"K": len(sizes), "M": sizes.shape[1] - 1, "lowest ratio": ratio.min(), "highest ratio": ratio.max()}
    tests.append(row | {"p": p_value(scores)})


def compare(name, xs, reference, labels):
    """Test K clouds by H0; their deaths (K, M + 1, N - 1) in RMS distances."""
    stacks = [with_references(x, 99, y, k) for k, (x, y) in enumerate(zip(xs, labels, strict=True))]
    deaths = np.stack([h0_deaths(stack) for stack in stacks]) / rms(xs)[:, None, None]
    note(name, reference, "H0", deaths.mean(-1), [oddness(each) for each in deaths])
    return deaths


# %%
def draw_deaths(axes, deaths, band, line):
    """Sorted deaths of K clouds, and where 95 % of those of their references lie."""
    rank = np.arange(1, deaths.shape[2] + 1)
    axes.fill_between(rank, *np.quantile(deaths[:, 1:], (0.025, 0.975), (0, 1)), color=band, alpha=0.4, linewidth=0)
    axes.plot(rank, deaths[:, 0].T, color=line, linewidth=0.8)


# %%
figure, panels = plots.panels(len(clouds), 4, 2.7, sharey=True)
for axes, (name, xs) in zip(panels, clouds.items(), strict=True):
    for reference, labels in LABELS.items():
        draw_deaths(axes, compare(name, xs, reference, labels), COLORS[reference], BLUE)
    isotropic = np.random.default_rng(0).normal(size=xs.shape)
    axes.plot(np.arange(1, xs.shape[1]), (h0_deaths(isotropic) / rms(isotropic)[:, None]).mean(0), "k:")
    axes.set(title=f"{name}\nRMS distance {rms(xs).mean():.2g}", xlabel="bar, by rank", ylim=(0, None))
panels[0].set_ylabel("H0 death [RMS distance]")
looks = {f"{name}, 95 %": {"color": COLORS[name], "linewidth": 5, "alpha": 0.4} for name in LABELS}
looks |= {f"features, K = {len(xs)}": {"color": BLUE}, "isotropic Gaussian": {"color": "k", "linestyle": ":"}}
plots.legend(figure, looks)
figures.save(figure, "extra/gaussians-layers", pd.DataFrame(tests))
figure

# %% [markdown]
# **Notice.** From the dotted line down to the grey band is *covariance*: a few directions carry most of the variance. From grey down to the classifier's features (blue) is *shape*. It is there in every layer and in the pixels: nearest neighbours are nearer than a Gaussian allows. In the trained layers more than half of this gap closes on average once the reference has the ten class means (orange).
#
# ## 3. While the network learns
#
# **Claim.** A mean H0 death is a product, scale × covariance × shape:
#
# $$\bar t = \mathrm{RMS}(X) \cdot \frac{\bar t_\text{Gaussian}}{\mathrm{RMS}(X)} \cdot \frac{\bar t}{\bar t_\text{Gaussian}},$$
#
# where $\bar t_\text{Gaussian}$ is the mean over references. The second factor depends on the covariance alone, and not on its size. **Predict** which factor makes deaths grow, and whether training leads away from one Gaussian, from ten, or from both.


# %%
def reference_death(xs, labels):
    """Mean H0 death of 19 references of each of K clouds, (K,)."""
    pairs = enumerate(zip(xs, labels, strict=True))
    return np.array([h0_deaths(gaussian_references(x, 19, y, k)).mean() for k, (x, y) in pairs])


factors = "scale: RMS distance", "covariance: Gaussian over RMS", "shape: over one Gaussian", "rest: over ten Gaussians"
rows = []
for (layer, made), xs in seen.items():
    one, ten = (reference_death(xs, labels) for labels in LABELS.values())
    scale, mean = rms(np.stack(xs)), h0_deaths(np.stack(xs)).mean(1)
    each = zip(scale, one / scale, mean / one, mean / ten, strict=True)
    rows += [(layer, made, seed, *of_seed) for seed, of_seed in enumerate(each)]
course = pd.DataFrame(rows, columns=["layer", "step", "seed", *factors])

# %%
if FEATURES is None:
    figure, panels = plots.panels(4, 4, 2.6)
    limits = (0, None), (0, 1), (0.6, 1.02), (0.6, 1.02)
    for axes, name, limit in zip(panels, factors, limits, strict=True):
        for layer, color in zip(LAYERS, (BLUE, RED, GREEN), strict=True):
            plots.seed_curves(axes, course[course["layer"] == layer], name, color, layer)
        axes.set(title=name.replace(": ", ":\n"), xlabel="training steps", ylim=limit)
    plots.legend(figure, {f"{layer}, 5 seeds": {"color": c} for layer, c in zip(LAYERS, (BLUE, RED, GREEN), strict=True)})
    figures.save(figure, "extra/gaussians-training", course)
    display(figure)

# %%
if FEATURES is None:
    ends = course.set_index(["step", "layer", "seed"])
    change = ends.loc[last] / ends.loc[0]
    one, ten = np.log(change[factors[2]]), np.log(change[factors[3]])
    assert len(change) == 15 and (change[factors[0]] > 1).all() and (change[factors[1]] < 1).all()
    assert (one < 0).all() and (ten.abs() < one.abs()).all()  # in each layer and seed
    print("last step over first, lowest and highest of 5 seeds:")
    display(change.groupby("layer").agg(["min", "max"]).round(2))

# %% [markdown]
# **Notice.** (The last two axes begin at .6.) The classifier's deaths grow by scale alone. Covariance works against it: variance gathers in fewer directions. Training leads every layer away from *one* Gaussian, in all five seeds, and by less from *ten*: the last column stays within a few percent of 1. What training adds to the shape, as far as H0 sees it, is the ten class means. Another tenth was there before training and stays. Classes may not be Gaussian, or not share one covariance; the test does not say which.
#
# ## 4. Loops
#
# Between diagrams of H1 there is the 1-Wasserstein distance (gudhi's `hera`; bars may be matched to the diagonal). A number for each diagram is its total persistence $\sum (t - b)$; deviations with the same sign add up over clouds. **Predict**: have trained features more loops than their Gaussians, or fewer?


# %%
def h1_oddness(bars):
    """Mean 1-Wasserstein distance of each of M + 1 diagrams to the others."""
    apart = [gudhi.hera.wasserstein_distance(a, b, order=1, internal_p=np.inf) for a, b in combinations(bars, 2)]
    return squareform(apart).mean(1)


loops = {}  # (name, reference) -> K lists of M + 1 diagrams
for name, xs in clouds.items():
    for reference, labels in LABELS.items() if name in ("pixels", "layer 2", "your file") else ():
        pairs = enumerate(zip(xs / rms(xs)[:, None, None], labels, strict=True))
        bars = loops[name, reference] = [diagrams(with_references(x, 19, y, k)).finite(1) for k, (x, y) in pairs]
        total = np.array([[np.ptp(each, axis=1).sum() for each in of_cloud] for of_cloud in bars])  # (K, M + 1)
        note(name, reference, "H1, Wasserstein", total, [h1_oddness(of_cloud) for of_cloud in bars])
        mean = total.mean(1, keepdims=True)  # 0: no loops in a cloud and its references, nothing deviates
        note(name, reference, "H1, total persistence", total, (total - mean) / np.where(mean > 0, mean, 1))
name = list(loops)[-1][0]  # layer 2, or your file

# %%
drawn = {name: (BLUE, [each[0] for each in loops[name, "one Gaussian"]])}
drawn |= {reference: (COLORS[reference], [each[1] for each in loops[name, reference]]) for reference in LABELS}
limit = max([1.0, *(bars.max() for _, each in drawn.values() for bars in each if len(bars))])
figure, panels = plots.panels(len(drawn), 3, 2.5, sharex=True, sharey=True)
for axes, (title, (color, each)) in zip(panels, drawn.items(), strict=True):
    plots.persistence_diagram(axes, [np.concatenate(each)], limit, colors=[color])
    axes.set_title(f"{title}, K = {len(each)}\n{sum(map(len, each))} bars of H1")
figures.save(figure, "extra/gaussians-loops", pd.DataFrame(np.concatenate(drawn[name][1]), columns=["birth", "death"]))
figure

# %% [markdown]
# **Notice.** Axes are in RMS distances, and one reference is drawn for each cloud. Here the trained features (layer 2) have fewer loops than one Gaussian, and some of theirs come later; beside ten Gaussians there is little to see. Hold your judgement until the table at the end.
#
# ## 5. Queries of detectors
#
# Five small detectors have 16 queries of width 96. Their *learned query embeddings* (DAB-DETR: anchors, 16 × 4) are one cloud each. *Decoder outputs* are a cloud for each image; ten images are used. These share the 16 queries and are not independent clouds. So all ten are turned by the same rotations, and count as one test. **Predict**: in which of the two is there shape beyond covariance?

# %%
queries = {}
scenes = make_scenes(60, split="val", seed=5)
for kind in [*style.MODELS, "long"] if FEATURES is None else ():
    name = style.MODELS.get(kind, "DETR, long")
    model = load("long-detr-0" if kind == "long" else f"headline-{kind}-0")
    learned = model.decoder.queries.anchor if kind == "dab" else model.decoder.queries.object_query
    with torch.no_grad():
        outputs = model(torch.from_numpy(scenes.pixels)).hidden[-1].double().numpy()  # (B, Q, width)
    queries[name, "learned queries"] = learned.detach().double().numpy()[None]
    queries[name, "decoder outputs"] = outputs[:10]
    rho = rank_correlation(h0_deaths(outputs).sum(1), [len(boxes) for boxes in scenes.boxes]).rho
    print(f"{name}: rank correlation of the tree's length with the number of digits {rho:.2f}")

# %%
if queries:
    figure, panels = plots.panels(10, 5, 2, sharex=True, sharey=True)
    colors = dict(zip(style.MODELS.values(), style.MODEL_COLORS.values(), strict=True))
    for place, ((name, what), xs) in enumerate(queries.items()):
        axes = panels[place // 2 + 5 * (place % 2)]
        deaths = np.stack([h0_deaths(with_references(x, 999)) for x in xs]) / rms(xs)[:, None, None]  # one seed for all
        note(f"{name}: {what}", "one Gaussian", "H0", deaths.mean(-1), [np.mean([oddness(each) for each in deaths], 0)])
        draw_deaths(axes, deaths, GREY, colors.get(name, "black"))
        axes.set_title(f"{name}\n{what}" if len(xs) == 1 else what, fontsize=7.5)
        axes.set(xlabel="bar, by rank" if len(xs) > 1 else None, xticks=(1, 8, 15), ylim=(0, 1.6))
    figure.supylabel("H0 death [RMS distance]", fontsize=9)
    plots.legend(
        figure, {"a line a cloud": {"color": "k"}, "one Gaussian, 95 %": {"color": GREY, "linewidth": 5, "alpha": 0.4}}
    )
    figures.save(figure, "extra/gaussians-queries", pd.DataFrame(tests).tail(10))
    display(figure)

# %% [markdown]
# **Notice.** Learned queries lie as far apart as points of a Gaussian: after training the object queries still look like the random vectors that they began as, to H0 and with 16 points. Decoder outputs do not, in all five detectors: many short bars and a few long ones. Scale tells something too: the more digits in an image, the longer the tree of its outputs (60 images, rank correlations above).
#
# **All tests, with Holm's correction** of their p-values for their number. "Ratio" is the mean death (H1: total persistence) of a cloud over that of its $M$ references, lowest and highest of $K$ clouds. There are 9,999 permutations, and all 1,000 choices where there is one test for one group of clouds.

# %%
table = pd.DataFrame(tests).sort_values("p", kind="stable")
table["p, Holm"] = (table["p"] * np.arange(len(table), 0, -1)).cummax().clip(upper=1)
table = table.sort_index().set_index(["features", "reference", "distance"])
odd = table["p, Holm"] <= 0.05
print(f"{len(table)} tests, odd at .05 after Holm's correction: {odd.sum()}")
table.round(4)

# %%
names, distances = (table.index.get_level_values(level) for level in ("features", "distance"))
if FEATURES is None:
    assert odd[names.isin(clouds) & (distances == "H0")].sum() == 8  # four clouds, two references
    assert odd[(names == "pixels") & (distances == "H1, Wasserstein")].sum() == 2
    assert odd[names.str.contains("outputs")].all() and not odd[names.str.contains("learned")].any()
for key, row in table.iterrows() if FEATURES is not None else ():
    said = "differs from" if odd[key] else "is not told from"
    print(f"{key[2]}: your file {said} {key[1]}, p = {row['p']:.4f}, after Holm {row['p, Holm']:.4f}")

# %% [markdown]
# **Notice.** By H0 the classifier's features are told from one Gaussian and from ten, in every layer and in the pixels; the detectors' outputs are, and their learned queries are not. That queries are *not told* from a Gaussian does not say that they are one: 16 points can hide a lot.
#
# H1 asks for care. The pixels' loops are told from both references by the Wasserstein distance. For the trained layer the eye sees fewer loops than one Gaussian has, and all five ratios of total persistence are below 1; yet this is no finding. It does not survive the correction (.057), and it changes with the draw: with `SEED = 5` and `SEED = 10`, ten more classifiers and other images, the corrected p-values are .010 and .41 for total persistence, and 1 and .02 for Wasserstein (.31 here). All rows of H0, those of the detectors and the pixels' Wasserstein rows are the same verdicts in the three draws. The verdict depends on the distance, and each draw has only five clouds.
#
# ## Here and in the paper
#
# | | here | TopKD's code | why they differ |
# |---|---|---|---|
# | cloud | 64 test images, evaluation mode | 64 training images | points should be independent draws |
# | features | 64, small classifier of digits | 64 or 128 after pooling, CIFAR-100 | must run on a laptop |
# | compared with | Gaussian clouds of the same covariance | the student's diagram | it is our question |
# | scale | out: RMS distances | in: the loss sees raw distances | |
#
# Not checked: CIFAR-100, wide networks, other tasks, training batches in training mode. One data set and one architecture; the detectors have one seed each, and the same queries and images in every draw. The text of the TopKD paper could not be read; what is said of it is from its code.
#
# ## Exercises
#
# **1.** One cloud is compared with $M = 99$ references. What is the smallest p-value that it can get?
#
# **2.** Write `holm(p)`: p-values, in any order, to Holm's adjusted ones. The smallest is multiplied by the number of tests $m$, the next by $m - 1$, ...; none is smaller than the one before it, none above 1.

# %%
answer = None  # exercise 1
check(answer, 0.01, 1e-6, hints={0: "X itself is among the choices.", 1 / 99: "There are M + 1 choices."})
holm = None  # exercise 2
check_function(holm, {
    "in order": ((np.array([0.01, 0.02, 0.5]),), [0.03, 0.04, 0.5]),
    "never smaller than the one before": ((np.array([0.01, 0.02, 0.03]),), [0.03, 0.04, 0.04]),
    "any order, at most 1": ((np.array([0.9, 0.01, 0.6]),), [1, 0.03, 1]),
})  # fmt: skip

# %% [markdown]
# <details><summary>Solutions</summary>
#
# **1.** $1 / (M + 1) = 0.01$: under the hypothesis each of the 100 clouds is the oddest with the same probability.
#
# **2.**
# ```python
# def holm(p):
#     order = np.argsort(p)
#     adjusted = np.empty(len(p))
#     adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
#     return adjusted
# ```
# </details>
#
# ## Questions for the group
#
# 1. TopKD asks a student to match its teacher's H0 diagram, in which scale and covariance weigh most. Would matching these do as well, and how would you test it?
# 2. "Ten Gaussians" share one covariance. What would you fix next, and when does the reference become the data?
# 3. Ten images of a detector are one test here, five classifiers are five clouds. Where would you draw that line in your own work?
#
# ## Summary
#
# A random rotation gives clouds with exactly the mean and covariance of a given one, and with them an exact test for what is more than scale and covariance. Features of a classifier of digits lie closer together than their Gaussians, from the pixels on; what training adds to that are the class means. Learned queries of small detectors cannot be told from Gaussian points by H0, their decoder outputs can.
#
# **Back:** [00_tour](00_tour.ipynb) has the paths through all notebooks.
#
# **References**
#
# ```bibtex
# @inproceedings{kim2024topkd,
#   title     = {Do Topological Characteristics Help in Knowledge Distillation?},
#   author    = {Kim, Jungeun and You, Junwon and Lee, Dongjin and Kim, Ha Young and Jung, Jae-Hun},
#   booktitle = {International Conference on Machine Learning},
#   year      = {2024}
# }
# @article{langsrud2005rotation,
#   title   = {Rotation tests},
#   author  = {Langsrud, {\O}yvind},
#   journal = {Statistics and Computing},
#   year    = {2005}
# }
# ```

# %%
print(marginalia.versions("numpy", "scipy", "torch", "gudhi"))
