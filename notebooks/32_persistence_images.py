# %% [markdown]
# # Persistence images
#
# **What does a persistence image keep of a diagram, which of its settings matter, and what is left of it for dimension 0, where TopKD uses it?**
#
# Paper: TopKD (ICML 2024), its code for images and gradients; RipsNet (PMLR v196), Section 2 and Figure 1; Adams et al. (JMLR 2017), who defined persistence images. About half a minute to run on two CPU cores, 30 minutes to read.
#
# **中文摘要。** 持续图像把持续图变成固定大小的数组：每个点 (出生, 持续) 放一个高斯核，乘以权重，再在网格上求和。本笔记用手写数字教师网络的特征，逐个考察带宽、分辨率、权重和范围，并说明 gudhi 与 persim 的数值为何不同。
# TopKD 默认只用 0 维（连通分支），此时所有出生时间都是 0，20×20 的图像其实是同一列重复 20 次，一条一维曲线就够了。用于 1 维（环）时，TopKD 的权重在对角线上不为零，一个刚出现的小环就会让图像跳变。
# 最后对点求图像的梯度：带宽合适时能打开一个环，带宽太小时反而会把环合上。也可以换成您自己的特征。
#
# ## What you will see
#
# 1. A diagram of latent features, its plane, its bumps and its image; the formula as code, equal to ours and to gudhi's.
# 2. Bandwidth, resolution, weight and range, first side by side, then on sliders.
# 3. Why gudhi and persim give different numbers, and by how much.
# 4. Weights, one of which makes images jump.
# 5. Dimension 0, where an image is a curve.
# 6. Infinite bars.
# 7. Noise.
# 8. Gradients: points that move until their image is as wanted, or until there is no loop left.
#
# **What you need to know.** A *Vietoris-Rips filtration* joins points by edges up to a growing length. A *bar* $(b, t)$ is born at length $b$ and dies at $t$: a component in dimension 0
# (H0, all born at 0), a loop in dimension 1 (H1). Its *persistence* is $p = t - b$; all bars together are the *persistence diagram*. A point on the *diagonal* has $p = 0$.

# %%
import warnings
from pathlib import Path

import gudhi
import numpy as np
import pandas as pd
import persim
import torch
from gudhi.hera import wasserstein_distance
from gudhi.representations import PersistenceImage as GudhiImage
from IPython.display import display
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.special import ndtr

import marginalia
from marginalia import figures, plots, style
from marginalia.controls import with_controls
from marginalia.exercises import check, check_function
from marginalia.topology import PersistenceImage, PersistenceProfile, persistence_image, persistence_profile
from marginalia.topology.components import h0_deaths
from marginalia.topology.diagrams import diagrams
from marginalia.topology.digits import FEATURES as LAYER
from marginalia.topology.digits import digits, train_teacher
from marginalia.topology.features import collect_features, read_features
from marginalia.topology.images import persistence_weight, ripsnet_weight, topkd_weight
from marginalia.topology.ripsnet import load_ripsnet

style.use_style()

# %% tags=["parameters"]
FAST = True  # False: ten draws of noise in place of two, and 1,000 orders in place of 100
RETRAIN = False  # nothing is kept here: the teacher learns anew each time, in two seconds
FEATURES = None  # path of a .npy, .npz, .pt or .pth file with features (N, D) or (K, N, D)
ARRAY = None  # name of the array in it, where it has several
POINTS = 64  # of a cloud, as in TopKD's batches: larger clouds are cut
RIPSNET = None  # path of a RipsNet (.pth) of TopKD's authors

# %% [markdown]
# ## 1. From features to an image
#
# A batch of 64 inputs goes through a network, and the features before its classifier are a cloud of 64 points. The network here is the teacher of this collection, 64-256-64-10, trained on scikit-learn's digits.
# The bars that follow are loops, which have a birth of their own; components come back in section 5.
#
# **Claim.** An image is a weighted sum of bumps, looked at on a grid. With bars $(b_k, t_k)$, $p_k = t_k - b_k$, the *bandwidth* $\sigma$ and a *weight* $w$,
#
# $$\rho(x, y) = \sum_k w(b_k, p_k)\, \frac{1}{2\pi\sigma^2} \exp\!\Big(-\frac{(x - b_k)^2 + (y - p_k)^2}{2\sigma^2}\Big), \qquad I_{ji} = \rho(x_i, y_j),$$
#
# where the nodes $x_i$ run over a range of births and $y_j$ over one of persistences, $r$ of each. Word for word, and then by the library and by gudhi:

# %%
OWN, rng = FEATURES is not None, np.random.default_rng(0)
if OWN:
    clouds = read_features(FEATURES, ARRAY).astype(float)
    if len(clouds) == 1:  # one table of rows: batches of them
        rows = rng.permutation(clouds[0])
        batches = max(1, len(rows) // POINTS)
        clouds = rows[: batches * min(POINTS, len(rows))].reshape(batches, -1, rows.shape[1])
    print(f"Of {clouds.shape} at most 32 clouds of {POINTS} points, drawn at random, are used.")
    clouds = clouds[:32, rng.permutation(clouds.shape[1])[:POINTS]]
else:
    train, test = digits()
    teacher, _ = train_teacher(seed=0)
    batches = train.x.split(64)[:18]
    clouds = torch.stack(collect_features(teacher, batches, LAYER)).double().numpy()
    print(f"the teacher classifies {test.accuracy(teacher):.1%} of the test images rightly (one seed)")

found = diagrams(clouds)
DIM = 1 if min(map(len, found.finite(1))) > 1 else 0
if DIM == 0:
    print("Not all clouds have two loops: images of components, H0, in place of loops, H1.")
bars = found.finite(DIM)  # (m, 2) a cloud
first, p = bars[0], bars[0][:, 1] - bars[0][:, 0]
fitted = PersistenceImage().fit(bars)
sigma, window = fitted.bandwidth_, fitted.ranges_
print(f"{len(clouds)} clouds, {clouds.shape[1]} points in {clouds.shape[2]} dimensions; images of H{DIM}. {found}")
print(f"as the authors choose: bandwidth {sigma:.3g}, ranges {np.round(window, 2).tolist()}")

# %%
def image_by_formula(diagram, sigma, ranges, r, w):
    low_b, high_b, low_p, high_p = ranges
    x, y = np.linspace(low_b, high_b, r), np.linspace(low_p, high_p, r)
    image = np.zeros((r, r))  # a row a persistence, a column a birth
    for b, t in diagram:
        p = t - b  # turns the diagonal into the lower edge
        squared = (x[None, :] - b) ** 2 + (y[:, None] - p) ** 2  # (r, r)
        image += w(b, p) * np.exp(-squared / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    return image


# %%
def by_gudhi(diagram, sigma, ranges, r, w=persistence_weight):
    tool = GudhiImage(sigma, lambda u: w(u[0], u[1]), [r, r], list(ranges or [np.nan] * 4))
    return tool.fit_transform([diagram])[0].reshape(r, r)


off = lambda a, b: np.abs(a - b).max() / np.abs(b).max()  # noqa: E731, in parts of the largest value
by_hand = image_by_formula(first, sigma, window, 20, persistence_weight)
assert off(persistence_image(first, sigma, window), by_hand) < 1e-12
assert off(by_gudhi(first, sigma, window, 20), by_hand) < 1e-12

# %% tags=["hide-input"]
figure, axes = plots.panels(4, 4, 2.1)
plots.persistence_diagram(axes[0], found[0])
axes[0].legend(loc="lower right", handletextpad=0, borderpad=0)
axes[1].scatter(first[:, 0], p, 4 + 60 * p / p.max(), color=style.CYCLE[DIM], alpha=0.65)
for ax, some in zip(axes[2:], (first[[p.argmax()]], first), strict=True):
    plots.persistence_image(ax, persistence_image(some, sigma, window), window)
axes[1].set(xlabel="birth", ylabel="persistence", xlim=axes[3].get_xlim(), ylim=axes[3].get_ylim())
for ax, title in zip(axes, ("1. Diagram", f"2. H{DIM}, area: weight", "3. One bump", "4. All: the image"), strict=True):
    ax.set_title(title)
figures.save(figure, "extra/images-pipeline", pd.DataFrame({"birth": first[:, 0], "persistence": p}))
figure

# %% [markdown]
# **Notice.** Subtracting the birth turns the triangle above the diagonal into a plane whose lower edge is $p = 0$. The image no longer knows how many bars there are: neighbours melt into one bump. Bumps of bars on the edge are cut, since the authors' range goes from the smallest to the largest coordinate.
#
# The library needs no loop over bars: a bump is a product of a function of $x$ and one of $y$, so that the sum over $m$ bars is one product of matrices, $r \times m$ and $m \times r$.
#
# ## 2. Four settings
#
# **Predict.** In which row do the four images differ most: bandwidth ($\sigma$ is the authors' choice), resolution, weight, or range?

# %%
WEIGHTS = {"1": lambda b, p: 1.0, "p": persistence_weight, "10 tanh p": ripsnet_weight, "TopKD": topkd_weight}
low_b, high_b, low_p, high_p = window
half = (low_b, (low_b + high_b) / 2, low_p, (low_p + high_p) / 2)
wide = tuple(np.add(window, np.multiply(3 * sigma, [-1, 1, -1, 1])))
ROWS = {"bandwidth": {f"{f:g} σ": f * sigma for f in (0.25, 0.5, 1, 2)},
        "resolution": {f"{r} × {r}": (r, r) for r in (5, 10, 20, 80)},
        "weight": WEIGHTS,
        "ranges": {"data": window, "data ± 3 σ": wide, "lower halves": half, "birth 0": (0, 0, low_p, high_p)}}  # fmt: skip
cases = [(name, label, {name: value}) for name, row in ROWS.items() for label, value in row.items()]
figure, axes = plots.panels(16, 4, 1.55)
for ax, (name, label, change) in zip(axes, cases, strict=True):
    settings = {"bandwidth": sigma, "ranges": window} | change
    image = persistence_image(first, **settings)
    plots.persistence_image(ax, image, settings["ranges"])
    ax.set_title(f"{label}: max {image.max():.2g}", fontsize=8)
    ax.set(xlabel="birth" if ax in axes[12:] else "", ylabel=f"{name}\npersistence" if ax in axes[::4] else "")
    ax.tick_params(labelsize=7)
    change["max"] = image.max()
axes[15].set_xticks([-0.475, 0.475], ["0, first", "0, 20th"])
data = pd.DataFrame([(name, label, change["max"]) for name, label, change in cases], columns=["setting", "value", "max"])
figures.save(figure, "extra/images-settings", data)
figure

# %% [markdown]
# **Notice.** Each image has its own colour scale, from 0 to the number in its title. Bandwidth decides which bars of these loops can be told apart, and resolution only samples the same surface more finely. The weight changes the scale, but hardly the look of this image: at the authors' bandwidth the bumps hide
# which bars count (section 4 counts). The range decides most: half of it shows a flank, and with a range of one birth all columns are equal, whatever the births are.
#
# The same settings on sliders, to drag, to touch, or to move with the arrow keys. Below them the bandwidth: TopKD and RipsNet take the 20 % quantile of the distances between the *first 200* points
# $(b, p)$ of the stacked diagrams. So it depends on the order of the clouds. By how much? (Printed over many random orders.)


# %%
def look(cloud=0, bandwidth=1.0, resolution=20, weight="p", margin=0.0):  # bandwidth and margin in σ
    ranges = tuple(np.add(window, np.multiply(margin * sigma, [-1, 1, -1, 1])))
    image = persistence_image(bars[cloud], bandwidth * sigma, ranges, (resolution, resolution), WEIGHTS[weight])
    figure, (left, right) = plots.panels(2, 2, 3)
    plots.persistence_diagram(left, found[cloud])
    figure.colorbar(plots.persistence_image(right, image, ranges))
    return figure

with_controls(look, cloud=(0, len(clouds) - 1), bandwidth=(0.1, 4.0, 0.1), resolution=(3, 80), weight=list(WEIGHTS), margin=(0.0, 6.0))

# %%
if len(clouds) < 4:
    print("Fewer than four clouds: their order has little to change, so it is not tried.")
else:
    orders = [rng.permutation(len(clouds)) for _ in range(100 if FAST else 1000)]
    for k in sorted({0, DIM}):
        some = found.finite(k)
        chosen = [PersistenceImage().fit([some[i] for i in order]).bandwidth_ for order in orders]
        print(f"H{k}: bandwidth {min(chosen):.3g} to {max(chosen):.3g}, median {np.median(chosen):.3g}")

# %% [markdown]
# ## 3. gudhi and persim
#
# Two libraries, one name, different numbers:
#
# | | gudhi `PersistenceImage` | persim `PersistenceImager` |
# |---|---|---|
# | value | density *at a node*, with $1/(2\pi\sigma^2)$ | density *integrated over a pixel* |
# | grid | nodes on both ends, $h = (\text{high}-\text{low})/(r-1)$ | edges of pixels on both ends, $h = (\text{high}-\text{low})/r$ |
# | spread | `bandwidth` is $\sigma$ | `sigma` is a covariance matrix, or the variance $\sigma^2$ |
# | weight | 1 by default; of one point `[b, p]` | $p$ by default; of arrays $b$ and $p$ |
# | image | flat; reshaped, a row a persistence | a row a *birth*: transposed |
#
# And a trap: persim's constructor cuts range / pixel down to a whole number, so that rounding costs a pixel, while ranges that are assigned later are rounded up and padded. What works: a pixel that is exact in float32, and ranges, assigned later, that end within the last pixel.
#
# **Claim.** With nodes in the middle of the pixels, gudhi's value is the midpoint rule for persim's integral, divided by $h^2$. For bars inside the window they differ by at most $(h/\sigma)^2 / 12$ of the maximum, to leading order.
#
# **Predict.** How many pixels must an image of the unit square with $\sigma = 0.1$ have until the two agree to three digits?


# %%
def by_persim(diagram, sigma, low, r, h, w=persistence_weight):  # pixels of side h from (low, low) on
    covariance = {"sigma": [[sigma**2, 0.0], [0.0, sigma**2]]}
    tool = persim.PersistenceImager(pixel_size=h, weight=w, weight_params={}, kernel_params=covariance)
    tool.birth_range = tool.pers_range = (low + h / 4, low + r * h - h / 4)
    assert tool.resolution == (r, r)
    return tool.transform(diagram, skew=True)

naive = persim.PersistenceImager((0, 1), (0, 1), pixel_size=1 / 93)
print(f"93 pixels of side 1/93 between 0 and 1 become {naive.resolution[0]} in persim's constructor")

# %%
rows = []
for seed in range(5):
    b, length = np.random.default_rng(seed).random((2, 30))
    diagram = np.stack([b, b + length], 1)  # thirty bars in the unit square
    for r in (20, 30, 50, 100, 200, 400):
        h = float(np.float32(1 / (r - 1)))
        persims = by_persim(diagram, 0.1, -h / 2, r, h).T
        ours = persistence_image(diagram, 0.1, (-h / 2, (r - 0.5) * h) * 2, (r, r), convention="persim")
        assert off(ours, persims) < 1e-11
        gudhis = by_gudhi(diagram, 0.1, (0, (r - 1) * h) * 2, r)
        rows.append((seed, r, h / 0.1, off(persims / h**2, gudhis)))
law = pd.DataFrame(rows, columns=["seed", "resolution", "h / sigma", "difference"])
assert (law["difference"] <= law["h / sigma"] ** 2 / 12).all()
for _, one in law.groupby("seed"):  # on a line of slope 2
    assert abs(np.polyfit(np.log(one["h / sigma"]), np.log(one["difference"]), 1)[0] - 2) < 0.05
figure, (left, right) = plots.panels(2, 2, 2.5)
u, edges = np.linspace(-3, 3, 301), np.arange(-3.5, 4)
normal, middle = np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi), (edges[1:] + edges[:-1]) / 2
left.plot(u, normal, color=plots.NEUTRAL)
left.bar(middle, np.diff(ndtr(edges)), 0.92, color=style.PALETTE["sky"], label="persim, mean over a pixel")
left.plot(middle, np.interp(middle, u, normal), "o", color=style.CYCLE[1], label="gudhi, value at the node")
left.set(xlabel="distance from the bar / σ", ylabel="density · σ", title="One bump, h = σ (line: density)", ylim=(0, 0.66))
right.loglog(law["h / sigma"], law["difference"], "o", alpha=0.5)
right.loglog([0.02, 0.6], np.square([0.02, 0.6]) / 12, color=plots.NEUTRAL)
right.set(xlabel="h / σ", ylabel="difference / maximum", title="Five images (line: (h / σ)² / 12)")
right.set_xticks([0.025, 0.05, 0.1, 0.2, 0.5], ["0.025", "0.05", "0.1", "0.2", "0.5"], minor=False)
right.minorticks_off()
left.legend(loc="upper center", fontsize=7)
figures.save(figure, "extra/images-midpoint", law)
figure
# %% [markdown]
# **Notice.** In the left panel, persim's mean over a pixel lies below gudhi's value where the density is concave, at the peak, and above it in the tails. In the right panel their difference falls with the square of $h/\sigma$ and stays under the line; at 50 × 50 nodes it is up to 2.5e-3 of the maximum, at 100 × 100 at most 6e-4 (five images): neither library is wrong. Whoever wants gudhi's numbers must sample,
# whoever wants persim's must integrate; our `convention` does either to rounding (asserted above).
#
# ## 4. The weight
#
# **Claim.** Images are stable, that is, small changes of a diagram change them little, where $w$ is continuous *and 0 on the diagonal*: there loops are born, with $p = 0$. TopKD's code has
#
# $$w(b, p) = 10 \tanh p + 10 \ln(100\, b + 1),$$
#
# and its second term does not know $p$. RipsNet, from which the recipe comes, has the first term only. An image is linear in $w$ and adds up over bars; over a wide range, persim's pixels add up to $\sum_k w(b_k, p_k)$.
#
# Four points on a rhombus of side 1 show what the second term does. Their loop is born at 1 and dies at the length of the short diagonal, $2\sin(\theta/2)$: it exists from an angle of 60° on, and starts with $p = 0$. **Predict** how the norm of the image changes while $\theta$ goes through 60°.

# %%
for name, w in WEIGHTS.items():
    image = lambda d, w=w: persistence_image(d, sigma, window, weight=w)  # noqa: E731
    assert off(image(first[::2]) + image(first[1::2]), image(first)) < 1e-12
    far = tuple(np.add(window, np.multiply(9 * sigma, [-1, 1, -1, 1])))
    weights = w(first[:, 0], p) * np.ones(len(p))
    assert np.isclose(persistence_image(first, sigma, far, weight=w, convention="persim").sum(), weights.sum())
    print(f"weight {name}: {weights[p <= np.median(p)].sum() / weights.sum():.0%} lies on the shorter half of the bars of cloud 0")

# %%
b, length = np.array([0.01, 0.1, 1, 10]), np.array([0.5, 1, 2, 3, 8])
assert np.allclose(ripsnet_weight(0 * length, length), [4.62, 7.62, 9.64, 9.95, 10.0], atol=0.005)
assert np.allclose(topkd_weight(b, 0 * b), [6.9, 24.0, 46.2, 69.1], atol=0.05)
angles = np.sort([*np.linspace(50, 90, 81), 60.001])
u, v = np.stack([np.cos(np.radians(angles)), np.sin(np.radians(angles))], 1), np.array([1.0, 0.0])
rhombi = np.stack([0 * u, 0 * u + v, u, u + v], 1)  # (angles, 4, 2)
loops = diagrams(rhombi).finite(1)
norms = {name: [np.linalg.norm(persistence_image(d, 0.1, (0.5, 1.5, 0, 1), weight=w)) for d in loops]
         for name, w in list(WEIGHTS.items())[1:]}  # fmt: skip
norms = pd.DataFrame(norms, index=pd.Index(angles, name="angle"))
norms /= norms.max()
assert (norms.loc[:59.9] == 0).all(axis=None)
assert (norms.loc[60.001, ["p", "10 tanh p"]] < 1e-3).all() and norms.loc[60.001, "TopKD"] > 0.5
figure, (left, right) = plots.panels(2, 2, 2.6)
x, colors = np.linspace(0, 4, 200), dict(zip(norms, style.CYCLE, strict=False))
for name in ("p", "10 tanh p"):
    left.plot(x, WEIGHTS[name](0 * x, x), color=colors[name])
for birth in (0.1, 1.0, 10.0):
    left.plot(x, topkd_weight(0 * x + birth, x), color=colors["TopKD"])
    left.text(4, topkd_weight(birth, np.float64(4)) + 1, f"b = {birth:g}", ha="right", fontsize=8)
left.set(xlabel="persistence p", ylabel="weight", title="Three weights", ylim=(0, 90))
for name, color in colors.items():
    right.plot(norms.index, norms[name], color=color)
right.set(xlabel="angle of the rhombus, degrees", ylabel="norm of image / largest", title="A loop is born at 60°")
plots.legend(figure, {name: {"color": color} for name, color in colors.items()})
figures.save(figure, "extra/images-weights", norms.reset_index())
figure

# %% [markdown]
# **Notice.** In the left panel $10\tanh p$ is nearly level from $p = 2$ on: on features whose distances are larger, it counts bars. TopKD's curves start at 24, 46 and 69 in place of 0. In the right panel the image of the rhombus grows from 0 with the weights $p$ and $10\tanh p$, and jumps to more than half of its largest norm with TopKD's, for a
# loop that hardly exists. TopKD's default, dimension 0, is safe from that: at $b = 0$ the second term is 0.
#
# ## 5. Dimension 0: an image that is a curve
#
# **Claim.** All components are born at 0. With ranges from the data the range of births is $[0, 0]$, and the 20 columns of the paper's image all stand at birth 0. Each row is constant, and 400 numbers are 20, the *persistence profile*:
#
# $$\pi_j = \sum_k w(0, t_k)\, N(y_j; t_k, \sigma^2), \qquad I_{ji} = \frac{\pi_j}{\sqrt{2\pi}\,\sigma} \text{ for every } i.$$

# %%
zero = found.finite(0)
profiler = PersistenceProfile(weight=topkd_weight).fit(zero)
narrow, ends = profiler.bandwidth_, profiler.ranges_
profile = persistence_profile(zero[0][:, 1], narrow, ends, weight=topkd_weight)  # (20,)
official = persistence_image(zero[0], narrow, (0, 0, *ends), weight=topkd_weight)  # (20, 20)
assert np.ptp(official, axis=1).max() == 0 and len(np.unique(official)) <= 20
assert off(official, np.tile(profile[:, None], 20) / (np.sqrt(2 * np.pi) * narrow)) < 1e-12
assert off(by_gudhi(zero[0], narrow, (0, 0, *ends), 20, topkd_weight), official) < 1e-12
print(f"{official.size} numbers, {len(np.unique(official))} of them different; along birth they vary by {np.ptp(official, axis=1).max()}")
figure, axes = plots.panels(4, 4, 2.1)
plots.persistence_diagram(axes[0], [zero[0]])
plots.persistence_image(axes[1], official, (0, 0, *ends))
axes[1].set(xticks=[-0.475, 0.475], xticklabels=["0, first", "0, 20th"], xlabel="birth of column")
y = np.linspace(*ends, 20)
axes[2].plot(profile, y, ".-")
axes[2].set(xlabel="profile", ylabel="persistence", xlim=(0, None), ylim=axes[1].get_ylim())
around = (-3 * narrow, 3 * narrow, *ends)
plots.persistence_image(axes[3], persistence_image(zero[0], narrow, around, weight=topkd_weight), around)
for ax, title in zip(axes, ("H0: born at 0", "The paper's image", "Its 20 numbers", "Births ± 3 σ"), strict=True):
    ax.set_title(title)
figures.save(figure, "extra/images-dimension-0", pd.DataFrame({"persistence": y, "profile": profile}))
figure

# %% [markdown]
# **Notice.** In the paper's image of H0 every column is the profile. A range of births, as in the last panel, multiplies the profile by one bump that is the same for all clouds: nothing new either. Henry Adams, first author of the definition, advises a vector instead of an image when all births are 0 (CSU-TDA/PersistenceImages, issue 1).
#
# Were TopKD's published networks trained on such images? Fed with random features of the right width they answer with nearly constant rows: for resnet56 the standard deviation is 8e-4 along birth and 0.18 along persistence, for wrn_40_2 5e-3 and 0.09
# (measured with the next cell on the authors' files, of the repository jekim5418/TopKD, which have no licence and are not part of this collection).
#
# ## 6. Infinite bars and other degenerate input
#
# One component never dies. TopKD's code removes its bar, gudhi and persim do not. The second cell below runs them on such input. **Predict** which input gives an error, and which gives a wrong image silently.

# %%
if RIPSNET is None:
    print("The published networks are not run here: RIPSNET names no file.")
else:
    torch.manual_seed(0)
    net = load_ripsnet(RIPSNET, "sum" if "sum" in Path(RIPSNET).name else "mean")
    answers = net(torch.randn(256, 64, net.phi_1[0].in_features).relu()).detach().reshape(-1, 20, 20)
    print(f"standard deviation along birth {answers.std(-1).mean():.1e}, along persistence {answers.std(-2).mean():.1e}")


# %%
def persims(d, box, w):
    tool = persim.PersistenceImager(pixel_size=0.1, weight=w, weight_params={})
    if box is None:
        tool.fit([d], skew=True)
    else:
        tool.birth_range, tool.pers_range = box[:2], box[2:]
    return tool.transform(d, skew=True)


def answer_of(make, d, box, w):
    """In a word, what comes back."""
    try:
        image, plain = np.asarray(make(d, box, w)), make(bar, square, w)
    except Exception as error:  # whatever a library raises is its answer
        return type(error).__name__
    if not image.size or np.isnan(image).all():
        return "all NaN" if image.size else f"no pixels, {image.shape}"
    if not image.any() or np.ptp(image, axis=1).max() == 0:
        return "equal columns" if image.any() else "zeros"
    return "as for one finite bar" if np.array_equal(image, plain) else "an image"


bar, square, one, by_p = np.array([[0.2, 1.0]]), (0.0, 1.0, 0.0, 1.0), lambda b, p: np.ones(np.shape(p)), persistence_weight
endless, none, nan = np.array([[0.2, 1.0], [0.0, np.inf]]), np.empty((0, 2)), np.array([[0.2, 1.0], [np.nan, 1.0]])
INPUTS = {"no bars": (none, square, one), "no bars, range from data": (none, None, one),
          "infinite bar, weight 1": (endless, square, one), "infinite bar, weight p": (endless, square, by_p),
          "infinite bar, range from data": (endless, None, one), "NaN among the bars": (nan, square, one),
          "H0, range from data": (np.array([[0, 1.0], [0, 2.0]]), None, one), "a list, not an array": (bar.tolist(), square, one)}  # fmt: skip

# %%
makers = {"gudhi": lambda d, box, w: by_gudhi(d, 0.3, box, 10, w), "persim": persims,
          "marginalia": lambda d, box, w: PersistenceImage(0.3, box, (10, 10), w).fit_transform([d]).reshape(10, 10)}  # fmt: skip
print(marginalia.versions("gudhi", "persim"))
with warnings.catch_warnings(action="ignore"):
    table = {name: [answer_of(make, *given) for given in INPUTS.values()] for name, make in makers.items()}
pd.DataFrame(table, index=list(INPUTS))

# %% [markdown]
# **Notice.** With a weight that grows with $p$, one infinite bar turns a whole image of gudhi's or persim's into NaN; with weight 1 the same bar does nothing. NaN among the bars gives NaN silently in both. With these versions, H0 with ranges from data is an image of equal columns in gudhi and one without pixels in persim. Ours leaves infinite bars out, refuses NaN, and gives a range
# of no width three bandwidths on both sides. It refuses ranges from data without bars, too.
#
# ## 7. Noise
#
# **Claim.** If every point moves by at most $\varepsilon$, no bar's ends move by more than $2\varepsilon$; an image with $w = p$ then changes at most in proportion to how far the bars move in all (their *1-Wasserstein distance*, where bars may also go to the diagonal). With TopKD's weight a bar that appears adds a whole bump, however short it is.
#
# **Predict.** Will TopKD's weight make images of these features *more* sensitive to small noise, or less? Always, or now and then?

# %%
rows, unit = [], np.median(np.concatenate(zero)[:, 1])  # the median distance at which components merge
for level in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0):
    for seed in range(2 if FAST else 10):
        noise = np.random.default_rng(seed).normal(size=clouds.shape) * level * unit / np.sqrt(clouds.shape[2])
        for cloud, (old, new) in enumerate(zip(bars, diagrams(clouds + noise).finite(DIM), strict=True)):
            apart, most = cdist(old, new, "chebyshev"), 2 * np.linalg.norm(noise[cloud], axis=1).max()
            others = len(old) != len(new) or apart[linear_sum_assignment(apart)].max(initial=0) > most
            for name in ("p", "TopKD"):
                a, b = (persistence_image(d, sigma, window, weight=WEIGHTS[name]) for d in (new, old))
                change = np.linalg.norm(a - b) / np.linalg.norm(b)
                rows.append((level, seed, name, others, change, change / wasserstein_distance(old, new)))
noisy = pd.DataFrame(rows, columns=["level", "seed", "weight", "other bars", "change", "per distance"])
small = noisy[noisy["level"] < 0.05]
far = small[small["per distance"] > small.loc[small["weight"] == "p", "per distance"].max()]
print(f"noise < .05: {len(far)} images change more per distance than any with p; {far['other bars'].sum()} of these lost or gained a bar")
if not OWN:
    assert len(far) and far["other bars"].all() and far["seed"].nunique() == noisy["seed"].nunique()
    assert (small.groupby(["seed", "weight"])["change"].median().unstack().diff(axis=1)["p"] > 0).all()  # every seed
figure, axes = plots.panels(2, 2, 2.7)
for ax, what in zip(axes, ("change", "per distance"), strict=True):
    for (name, others), some in noisy.groupby(["weight", "other bars"]):
        at, mark = some["level"] * (0.9 if name == "p" else 1.1), "^" if others else "."
        ax.loglog(at, some[what], mark, color=colors[name], alpha=0.45, markersize=4)
    ax.set(xlabel="noise / median H0 death", ylabel="the same / 1-Wasserstein", title="Change per distance that bars moved")
axes[0].set(title="Change of an image", ylabel="change / norm of the image")
dot = {"marker": "o", "linestyle": ""}
plots.legend(figure, {"weight p": dot | {"color": colors["p"]}, "TopKD's weight": dot | {"color": colors["TopKD"]},
                      "a bar lost or gained": {"color": "black", "marker": "^", "linestyle": ""}})  # fmt: skip
figures.save(figure, "extra/images-noise", noisy)
figure

# %% [markdown]
# **Notice.** Dots are clouds. At small noise both weights change images in proportion to it, and for these features it is with TopKD's weight that H1 images change *less*, as a rule: a large constant weight a bar hides the small changes of $p$. But in the right panel the dots of weight $p$ stay on one level up to noise of
# a tenth, while some of TopKD's lie far above the rest: each is a cloud in which a bar appeared or vanished (asserted). The second term makes rare jumps, not large averages.
#
# ## 8. Gradients with respect to the points
#
# **Claim.** A death of H0, and a birth or death of H1, is the distance of two points $i, j$. Where all distances differ, its gradient is $\pm(x_i - x_j)/|x_i - x_j|$ at these two and 0 elsewhere. Images are smooth in births and deaths, so a loss on an image has gradients with respect to the points. They come by `torch`, through `h0_deaths` and `diagrams`.
#
# First a noisy ring of 16 points (arrows: minus the gradient). It shall get the profile (H0) or the image (H1) of a regular polygon. **Predict** which points move in either case.
#
# Then a use that people ask for: 24 points without a loop to speak of move by 80 steps (Adam, rate .02) of the gradient of the mean squared difference between their H1 image and that of *one* loop, $(0.35, 1.3)$, weight $p$. **Predict** what happens with $\sigma = 0.3$, and with $\sigma = 0.1$, where the bumps of the points' loops do not touch the one that is wanted.


# %%
def differences(loss, x):
    """Gradient, and its difference to central differences in ten directions, in parts of its norm."""
    (slope,) = torch.autograd.grad(loss(x.requires_grad_()), x)
    x, ways = x.detach(), torch.tensor(np.random.default_rng(1).normal(size=(10, *x.shape)))
    ways /= ways.flatten(1).norm(dim=1)[:, None, None]
    central = torch.stack([loss(x + 1e-6 * way) - loss(x - 1e-6 * way) for way in ways]) / 2e-6
    return slope, ((central - (ways * slope).sum((1, 2))).abs().max() / slope.norm()).item()


# %%
angles, PLANE = 2 * np.pi * np.arange(16) / 16, (0, 1.5, 0, 1.5)
regular = torch.tensor(np.stack([np.cos(angles), np.sin(angles)], 1))
ring = regular + 0.12 * torch.tensor(np.random.default_rng(0).normal(size=(16, 2)))
SHAPES = {"H0": lambda x: persistence_profile(h0_deaths(x), 0.1, (0, 1)),
          "H1": lambda x: persistence_image(diagrams([x])[0][1], 0.3, PLANE)}  # fmt: skip
tree = gudhi.RipsComplex(points=ring.numpy()).create_simplex_tree(max_dimension=2)
tree.compute_persistence()
zeros, higher, *_ = tree.flag_persistence_generators()  # which points' distances begin and end bars
edges, slopes = {"H0": zeros[:, 1:], "H1": higher[0].reshape(-1, 2)}, {}
figure, axes = plots.panels(2, 2, 3)
for ax, (name, shape) in zip(axes, SHAPES.items(), strict=True):
    loss = lambda x, shape=shape: (shape(x) - shape(regular)).square().mean()  # noqa: E731
    slopes[name], error = differences(loss, ring.clone())
    assert error <= 1e-6
    print(f"ring, {name}: gradient and central differences differ by {error:.0e} of its norm")
    ax.plot(*ring.numpy()[edges[name]].transpose(2, 1, 0), color=style.PALETTE["sky"], zorder=1)
    ax.plot(*ring.T, "o", color=plots.NEUTRAL)
    size = slopes[name].norm(dim=1)
    arrows, at = -slopes[name][size > 0] / size.max() * 0.4, ring[size > 0]
    ax.quiver(*at.T, *arrows.T, angles="xy", scale_units="xy", scale=1, color=style.CYCLE[1], width=0.008, zorder=3)
    ax.set(aspect="equal", xticks=[], yticks=[], xlim=(-1.5, 1.5), ylim=(-1.3, 1.3))
    ax.set_title({"H0": "H0 profile: spanning tree", "H1": "H1 image: edges of birth and death"}[name])
latent = lambda x: persistence_profile(h0_deaths(x), narrow, ends).square().mean()  # noqa: E731
if h0_deaths(clouds[0])[0] > 0:
    print(f"cloud 0 of the features, H0: {differences(latent, torch.tensor(clouds[0]))[1]:.0e}")
else:
    print("Cloud 0 of the features has equal points, where deaths have no derivative: not compared.")
data = {name: pd.DataFrame(torch.cat([ring, -s], 1), columns=["x", "y", "dx", "dy"]) for name, s in slopes.items()}
figures.save(figure, "extra/images-gradients", data)
figure


# %%
def open_loop(seed, bandwidth):
    """Points, longest loop, and overlap of image and goal, of each step towards an image of one loop."""
    x = torch.tensor(np.random.default_rng(seed).uniform(-0.6, 0.6, (24, 2)), requires_grad=True)
    wanted = persistence_image(torch.tensor([[0.35, 1.3]], dtype=x.dtype), bandwidth, PLANE)
    descent, steps = torch.optim.Adam([x], 0.02), []
    for _ in range(81):
        loops = diagrams([x])[0][1]
        image = persistence_image(loops, bandwidth, PLANE)
        (x.grad,) = torch.autograd.grad((image - wanted).square().mean(), x)
        overlap = (image * wanted).sum() / image.square().sum()
        steps.append((x.detach().numpy().copy(), np.ptp(loops.detach().numpy(), axis=1).max(initial=0), overlap.item()))
        descent.step()
    return steps


moved = {(width, seed): open_loop(seed, width) for width in (0.3, 0.1) for seed in range(5)}
longest = pd.Series({run: steps[-1][1] for run, steps in moved.items()}).unstack(level=0)
assert (longest[0.3] > 0.8).all() and (longest[0.1] < 0.05).all()  # in all five seeds
assert all(moved[0.1, seed][0][2] < 1e-3 < 0.1 < moved[0.3, seed][0][2] for seed in range(5))
print("I · G / |I|² at the start, by σ:", {w: [float(f"{moved[w, seed][0][2]:.1g}") for seed in range(5)] for w in (0.3, 0.1)})
display(longest.round(2).rename_axis("seed").add_prefix("longest loop at the end, σ = ").T)
figure, axes = plots.panels(10, 5, 1.6)
for ax, (width, step) in zip(axes, [(w, s) for w in (0.3, 0.1) for s in (0, 10, 20, 40, 80)], strict=True):
    x, length, _ = moved[width, 0][step]
    ax.scatter(*x.T, 8, color=style.CYCLE[0] if width == 0.3 else style.CYCLE[1])
    ax.set(aspect="equal", xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), xticks=[], yticks=[])
    ax.set_title(f"step {step}: p {length:.2f}", fontsize=8)
    ax.set_ylabel(f"σ = {width}" if step == 0 else "")
figures.save(figure, "extra/images-open-loop", longest)
figure

# %% [markdown]
# **Notice.** In the figure of the ring, the H0 loss moves points along the edges of the spanning tree, nearly everywhere. The H1 loss moves only the ends of the edge at which the loop is born and of the one at which it dies: an image of one loop speaks to four points at most, until other edges take over.
#
# In the frames (seed 0; the table has all five), $\sigma = 0.3$ opens a loop. With $\sigma = 0.1$ the same loss *closes* every loop. Multiply out $|I - G|^2 = |I|^2 - 2\, I \cdot G + |G|^2$: where the bumps of the image $I$ and of the goal $G$ do not meet, the middle term is nearly 0 (printed: $I \cdot G / |I|^2$ at the start), and descent only makes $|I|$ smaller, which $w = p$ does by
# sending $p$ to 0. An empty image costs less than a misplaced one. A student that is given a loss on images can do the same with its features; `deaths_loss`, on the sorted deaths themselves, has no window and no such way out.
#
# ## Here and in the paper
#
# | | here | in TopKD or RipsNet | why |
# |---|---|---|---|
# | features | 18 batches of digits, 64-d, a small MLP | CIFAR-100 and ImageNet, ResNets and others | a laptop |
# | dimension | H1 for images, H0 as a profile | TopKD: H0 by default; RipsNet: H1 of circles | H0 has no births to show |
# | bandwidth, ranges | by the authors' rule, on our 18 clouds | the same rule, on about 150,000 | |
# | scale | none, unless stated | divided by the maximum of all training images | one number; it changes no shape |
# | weight | $p$, and theirs beside it | $10 \tanh p$, TopKD with the second term | shown in sections 4 and 7 |
# | range of births for H0 | three bandwidths on both sides, or none | none: equal columns | section 5 |
#
# The paper's text could not be read; what is said of TopKD is from its published code and weights. Not checked: whether a better image would change any accuracy of a student.
#
# ## Exercises
#
# **1.** What weight does TopKD's code give a loop that is born at $b = 1$ and dies at once? **2.** gudhi drew an image with `bandwidth=0.3`. Which variance must persim's `sigma` be?
# **3.** Write `profile(deaths, sigma, y)` for nodes `y` and weight $p$. Infinite deaths count nothing.

# %%
answer_1, answer_2, profile_3 = None, None, None
check(answer_1, 10 * np.log(101), 0.1, {0: "That is the first term.", 10 * np.log10(101): "ln is the natural logarithm."})
check(answer_2, 0.09, hints={0.3: "That is the standard deviation.", 0.15: "Square it, do not halve it."})
y, t = np.linspace(0, 3, 7), np.array([0.5, 1.0, 2.5])
check_function(profile_3, {
    "three deaths": ((t, 0.4, y), persistence_profile(t, 0.4, (0, 3), 7)),
    "an infinite death": ((np.append(t, np.inf), 0.4, y), persistence_profile(t, 0.4, (0, 3), 7)),
})  # fmt: skip

# %% [markdown]
# <details><summary>Solutions</summary>
#
# **1.** $10 \tanh 0 + 10 \ln 101 = 46.2$, more than four times what the first term can ever give.
#
# **2.** $0.3^2 = 0.09$. The images still differ, by the midpoint error.
#
# **3.** Drop first, then multiply: with `t = deaths[np.isfinite(deaths)]`, it is
# `np.exp(-((y[:, None] - t) ** 2) / (2 * sigma**2)) @ t / (np.sqrt(2 * np.pi) * sigma)`. To give an infinite death the weight 0 is not enough, as $0 \cdot \infty$ is NaN.
# </details>
#
# ## Questions for the group
#
# 1. TopKD divides all images by one maximum, so that a sigmoid can predict them. What does that do to a batch with an outlier, and to one student whose features are ten times smaller?
# 2. H0 of 64 points is 63 numbers, sorted. What does a profile of 20 numbers have that these 63 do not have? What does it lose?
# 3. Which weight would you choose for loops of features whose distances are around 10, and how would you tell that it is a good choice?
#
# ## Summary
#
# A persistence image is a short formula with four settings, and the two libraries that draw it answer slightly different questions, by $(h/\sigma)^2/12$. TopKD's image of dimension 0 is one column twenty times: a profile of 20 numbers says the same. Its weight for loops is not 0 on the diagonal, so that loops which hardly exist make images jump. Gradients
# with respect to the points are exact, and a bandwidth that is too small sends them the wrong way: it closes loops in place of opening one.
#
# **Next:** [33_ripsnet](33_ripsnet.ipynb) lets a network predict such images from the points. Where diagrams come from is in [31_persistence_diagrams](31_persistence_diagrams.ipynb).
#
# **References**
#
# ```bibtex
# @article{adams2017persistence,
#   title   = {Persistence Images: A Stable Vector Representation of Persistent Homology},
#   author  = {Adams, Henry and Emerson, Tegan and Kirby, Michael and Neville, Rachel and Peterson, Chris and Shipman, Patrick and Chepushtanova, Sofya and Hanson, Eric and Motta, Francis and Ziegelmeier, Lori},
#   journal = {Journal of Machine Learning Research},
#   volume  = {18},
#   year    = {2017}
# }
# @inproceedings{kim2024topkd,
#   title     = {Do Topological Characteristics Help in Knowledge Distillation?},
#   booktitle = {International Conference on Machine Learning},
#   series    = {PMLR},
#   volume    = {235},
#   pages     = {24674--24693},
#   year      = {2024}
# }
# @inproceedings{surrel2022ripsnet,
#   title     = {{RipsNet}: a general architecture for fast and robust estimation of the persistent homology of point clouds},
#   author    = {de Surrel, Thibault and Hensel, Felix and Carri{\`e}re, Mathieu and Lacombe, Th{\'e}o and Ike, Yuichi and Kurihara, Hiroaki and Glisse, Marc and Chazal, Fr{\'e}d{\'e}ric},
#   booktitle = {Topological, Algebraic and Geometric Learning Workshops},
#   year      = {2022}
# }
# ```

# %%
print(marginalia.versions("numpy", "scipy", "torch", "gudhi", "persim", "matplotlib", "ipywidgets"))
