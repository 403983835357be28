# %% [markdown]
# # Convergence
#
# **Does Conditional DETR learn faster than DETR at the scale of a laptop, and which part of it makes the difference?**
#
# Paper: Conditional DETR (ICCV 2021), its Figures 2 and 5 and Tables 3 and 4. About one minute on two CPU cores: the detectors were trained before.
#
# **中文摘要。** Conditional DETR 声称比 DETR 收敛快约十倍。本笔记用小模型重做收敛曲线（图 2），先在真实的血细胞照片上（从随机权重开始，每种检测器各用两个学习率中较好的一个），再在自动生成的数字场景上；随后是变换形式（图 5）、空间查询（表 3）和组件消融（表 4）。每种设置三个随机种子。我们自己的数与论文发表的数并排放置，坐标轴从不混用。三个种子很少，所以只在所有种子方向一致时才说“高于”，否则就说“分不开”。
# 结果：两种数据上 Conditional DETR 都最快，但倍数不同；其余检测器的先后次序在两种数据上并不相同。最后的表格说明哪些结论在小尺度上成立，哪些不成立。
#
# ## What you will see
#
# 1. Four detectors of equal size, on photographs and on digits, and their curves beside the published end points.
# 2. Three skills: boxes that fit, scores that pick them, and classes.
# 3. How many steps each needs to a level, and how a ratio can be a bound.
# 4. Tables 3 and 4 and Figure 5, ours beside the paper's, and what three seeds can say.
#
# You need to know what a decoder query is, and AP ([25_high_ap_images](25_high_ap_images.ipynb)). How the attention differs is in
# [11_conditional_cross_attention](11_conditional_cross_attention.ipynb).

# %%
import sys
from itertools import combinations

import numpy as np
import pandas as pd
from IPython.display import display

import marginalia
from marginalia import figures, store, style, training
from marginalia.controls import with_controls
from marginalia.detection import convergence
from marginalia.detection.detector import DetectorConfig, build, parameters
from marginalia.exercises import check, check_function
from marginalia.figures import conditional_detr, runs
from marginalia.figures.runs import GROUPS, SEEDS
from marginalia.statistics import rank_agreement
from marginalia.store import read_table

style.use_style()
TABLES = ("table_3", "figure_5", "table_4", "reference_point")
DETR, FOCAL, CONDITIONAL, DAB = GROUPS["headline"].values()
LONG, CELLS_LONG = runs.LONG["headline"], runs.LONG["cells"]  # DETR with ten times the steps

# %% tags=["parameters"]
FAST = True  # nothing here is slow
RETRAIN = False  # True: train one small run again, two to three minutes, and compare
METRIC = "AP50"  # of the race in section 3
LEVELS = {"cells": 0.4, "headline": 0.8}

# %% [markdown]
# ## 1. Four detectors that differ in little else
#
# **Claim.** A race is fair when data, steps and size are equal. Here four kinds learn twice: from **photographs** of blood cells (292 of 160 x 120 pixels, some thirteen boxes each of red cells, white cells and platelets; measured on 72 others), and from generated **scenes** (one to four handwritten digits of ten classes on a texture,
# 64 pixels). Within each race all have the same images, steps and optimiser, and equally many parameters within 5 %.
#
# - **DETR**: one dot product for content and position, softmax classes with a no-object class.
# - **DETR + OR + FL**: the same attention; boxes are offsets from a reference point (OR), and classes have the focal loss (FL).
# - **Conditional DETR**: as before, with content and position compared apart and a conditional spatial query (CSQ).
# - **DAB-DETR**: the query is an anchor box that every layer moves ([14_anchor_boxes](14_anchor_boxes.ipynb)).
#
# **One thing to keep in mind.** The paper starts from a backbone that ImageNet taught. On photographs all kinds here start from random weights. On digits, where a detector of this size learns to *find* long before it can *classify*, they start from a backbone that learnt to tell digits apart in boxes that were given to it.
#
# **Predict.** In the paper, Conditional DETR after 50 epochs stands where DETR stands after 500. Here DETR gets 2,400 steps on photographs, and once, with one seed, 24,000. Where will DETR be when Conditional DETR reaches half of its own final AP?

# %%
frame = runs.histories(runs.run_names("cells", "headline", *TABLES, "dab_figure_3"))
HEADLINE, SMALL = (runs.settings(name)["options"] for name in ("headline-detr-0", "small-csq-0"))


def lead(group, upper, lower, step=None):
    """AP of one row of a group minus that of another, seed by seed; at the end, or after some steps."""
    values = convergence.values_at(frame, GROUPS[group], "AP", step)
    return values[upper] - values[lower]


def size(base):
    """Parameters of the detector of some runs."""
    return parameters(build(DetectorConfig(**runs.settings(f"{base}-0")["detector"])))


tables, NAMES = {}, {"cells": "photographs", "headline": "digits"}
for group, name in NAMES.items():
    sizes = {kind: size(base) for kind, base in GROUPS[group].items()}
    assert max(sizes.values()) / min(sizes.values()) < 1.05
    ends = convergence.values_at(frame, GROUPS[group])
    assert ends.notna().all(axis=None) and list(ends.index) == list(SEEDS)  # no run is missing
    tables[name] = ends.T.add_prefix("AP, seed ").assign(parameters=sizes).rename(index=style.MODELS)
pd.concat(tables).round(3)


# %% [markdown]
# **Is that all it takes to be fair?** On digits all kinds share one learning rate. On photographs the rate of $6 \cdot 10^{-4}$ leaves DETR where it begins, so two were tried, with the first seed of each kind; and two kinds began once more with a backbone that had learnt digits and nothing of cells. **Predict**: whose place changes with the rate, and what are digits worth for cells?

# %%
tried = [*style.MODELS] + [f"{'fast' if kind == 'detr' else 'slow'}-{kind}" for kind in style.MODELS]
data = runs.histories(f"cells-{name}-0" for name in (*tried, "digits-conditional", "digits-detr-focal"))
data["rate"] = data.groupby("run")["lr"].transform("max").map("rate {:g}".format)
data.loc[data["run"].str.contains("digits"), "rate"] = "digits' backbone"
ends = runs.at_the_end(data).pivot(index="kind", columns="rate", values="AP50").loc[list(style.MODELS)]
better = ends.filter(like="rate").idxmax(axis=1)
assert all(f"rate {runs.settings(f'cells-{kind}-0')['options']['lr']:g}" == rate for kind, rate in better.items())
assert (ends["digits' backbone"] - ends.filter(like="rate").max(axis=1)).dropna().abs().max() < 0.03
ends.rename(index=style.MODELS).round(3)

# %% [markdown]
# **Notice.** For DETR the rate decides everything. It ends at an AP50 of .31 with the smaller rate and of .02 with the larger one, at which it is last by far. The other three kinds prefer the larger rate, Conditional DETR by little (.67 against .62).
# So each kind has its better rate from here on, of two, by one seed. A race with one rate for all, as on digits, may say more about that rate than about the detectors. The same caution holds for published comparisons in which a recipe was tuned for one side. What the backbone learnt of digits is worth nothing for cells after 2,400 steps: AP50 .68 against .67, and .23 against .25 (one seed each).
#
# **Predict** the curves of three seeds, each kind from random weights at its better rate.

# %%
figure, data = conditional_detr.convergence("cells")
figures.save(figure, "conditional-detr/convergence", data)
for lower in ("detr", "detr-focal", "dab"):
    ahead = lead("cells", "conditional", lower)
    print(f"AP of Conditional DETR minus {style.MODELS[lower]}:", ahead.round(3).to_list())
    assert (ahead > 0.1).all()  # in every seed
assert (lead("cells", "detr", "detr-focal") > 0).all()
assert convergence.verdict(lead("cells", "dab", "detr")).startswith("not separated")
long = frame.loc[frame["base"] == CELLS_LONG, "AP"].iloc[-1]
assert 0 < long - convergence.values_at(frame, GROUPS["cells"])["conditional"].max() < 0.02
figure

# %% [markdown]
# Drawn by [`figures.conditional_detr.convergence`](../lib/marginalia/figures/conditional_detr.py).
#
# **Notice.** Dots are runs, bands the range over seeds, lines their mean. The two lower panels have units of their own: steps there, epochs in the published one. Read one thing only from that pair: the shape, fast against slow.
#
# On photographs the distances are large, and the order of the means is Conditional DETR, DAB-DETR, DETR, DETR + OR + FL. Conditional DETR is ahead of each other kind by more than .1 in every seed, and DETR ahead of DETR + OR + FL; between DAB-DETR and DETR the seeds disagree. The long run of DETR (one seed) ends at an AP of .42, just above Conditional DETR's .37, .41 and .39 after a tenth of the steps. That is the paper's picture, on photographs and from random weights, with DETR at a smaller rate.
#
# Now the same on digits, from a backbone that knows them. **Predict**: does the order hold, and the distance?

# %%
figure, data = conditional_detr.convergence("headline")
figures.save(figure, "extra/convergence-digits", data)
curves, until = frame.set_index(["run", "step"])["AP50"], HEADLINE["drop_at"] * HEADLINE["steps"]
both = pd.concat([curves[f"{base}-0"].loc[:until] for base in (DETR, LONG)], axis=1, join="inner")
assert len(both) > 1 and np.allclose(*both.to_numpy().T, atol=1e-4)  # the same run, up to rounding
values = convergence.values_at(frame, GROUPS["headline"])
for upper, lower in (("conditional", "dab"), ("dab", "detr-focal"), ("detr-focal", "detr")):
    assert (values[upper] > values[lower]).all()  # the order, in every seed
long, conditional = frame.loc[frame["base"] == LONG, "AP"].iloc[-1], values["conditional"]
assert long > conditional.max()  # ten times the steps are worth it here
print(f"AP: long run of DETR {long:.3f}, Conditional DETR {conditional.mean():.3f} (mean of seeds)")
figure

# %% [markdown]
# **Notice.** On digits the order is another one: Conditional DETR, DAB-DETR, DETR + OR + FL, DETR, in AP in every seed. Conditional DETR leads in both; the focal loss with reference points helps DETR on digits, and on cells only at the rate that DETR cannot bear (table above).
#
# Up to step 1200, where the short run's learning rate drops, the long run and the short one are the same, and an assert compares their rows. In the paper the two trainings end alike. Here ten times the steps end *higher*: the short Conditional DETR has not finished learning when it stops, and nobody trained it for 15,000 steps here.
#
# ## 2. To fit, to find, to classify
#
# **Claim.** AP50 mixes three skills, and kinds differ in them one by one.
#
# - **Fit**: is there a query whose box fits? The mean IoU of the queries that the matching of the training picks, whatever their score.
# - **Find**: do scores pick that query, and no second one? AP50 with all ten digits renamed to "digit".
# - **Classify**: is it the right digit? AP50.
#
# **Predict.** Take each run at the step where its boxes fit equally well, a mean IoU of .75. Is then equally much found?

# %%
data = runs.histories(runs.run_names("headline"))
figure = conditional_detr.curves(data[data["base"] != LONG], ["mean_iou", "AP50_any", "AP50"])
figures.save(figure, "extra/convergence-found-and-read", data)
equal = convergence.values_when(data, "mean_iou", 0.75, ("AP50_any", "AP50"))
found = equal["AP50_any"].unstack()
assert (found.loc[FOCAL] > found.loc[CONDITIONAL]).all()
assert (found.loc[CONDITIONAL] > found.loc[[DETR, DAB]].max(skipna=False)).all()
display(equal.unstack().round(2))
figure

# %% [markdown]
# **Notice.** At equal fit unequally much is found: by DETR + OR + FL most (.89, .89, .86 by seed), then Conditional DETR (.82, .82, .79), and DETR and DAB-DETR least. So being late is not a matter of boxes alone: scores have to learn which of sixteen queries answers for a digit, and that the others keep silent.
# The attention is not what makes the difference at this point, since DETR + OR + FL has DETR's attention and finds more than Conditional DETR in every seed, at three times the steps, though.
# What is found is soon classified, thanks to the backbone. "Classify" can even lie above "find": renamed, all digits share one ranking by score, and scores that are fine within each class may not compare across classes.
#
# On photographs the classes are easily told apart, and unequally hard to find. **Predict** the order: red cells (many, overlapping), white cells (one or two, large), platelets (few, three cells of the grid at most).

# %%
data = runs.histories(runs.run_names("cells")).query("base != @CELLS_LONG")
figure = conditional_detr.curves(data, ["AP50 red cell", "AP50 white cell", "AP50 platelet"])
figures.save(figure, "extra/convergence-classes", data)
ends = runs.at_the_end(data).set_index(["kind", "seed"]).filter(like="AP50 ").sort_index()
assert ends["AP50 white cell"].min() > 0.5 and ends.loc["conditional", "AP50 red cell"].min() > 0.7
assert ends.loc[["detr", "detr-focal"], "AP50 red cell"].max() < 0.1
assert ends.drop("conditional")["AP50 platelet"].max() < 0.02
figure

# %% [markdown]
# **Notice.** White cells come first in all kinds, red cells by far later. At the end DETR and DETR + OR + FL find white cells (AP50 .79 to .86 and .56 to .68) and hardly a red one (below .1), in every seed; DAB-DETR finds red cells with its first seed (.57) and hardly with the others (.15, .07); platelets are found by Conditional DETR alone (.34 to .44). So DETR's AP50 of .31 is
# a mean of .86, .07 and 0. Why things that are many, alike and overlapping come so late, these curves do not say.
#
# ## 3. Steps to a level
#
# **Claim.** "Faster" needs a level. Let $m(t)$ be the AP50 of a run after $t$ steps, linear between evaluations. Then
#
# $$S(\tau) = \min\{t : m(t) \ge \tau\}, \qquad R(\tau) = \frac{S_\text{slow}(\tau)}{S_\text{fast}(\tau)}.$$
#
# A run that ends at $T$ below $\tau$ has no $S$, but it is not silent: $S > T$, so $R$ is *at least* $T / S_\text{fast}$. Dropping such runs would favour the slow one. First on paper, then for our runs.
#
# **Predict.** How many times the steps of Conditional DETR does each DETR need, on photographs to AP50 0.4, on digits to 0.8? Then change metric, threshold $\tau$ and group: at which is the ratio largest?

# %%
steps, values = np.array([100, 200, 300, 400]), np.array([0.1, 0.5, 0.9, 0.95])
by_hand = 200 + (0.8 - 0.5) / (0.9 - 0.5) * 100
print(f"0.8 is crossed at step {by_hand:g}")
assert np.isclose(convergence.steps_to_reach(steps, values, 0.8), by_hand, atol=1e-9)
assert np.isnan(convergence.steps_to_reach(steps, values, 0.99))

# %%
reached = {group: convergence.reach(frame, "AP50", level) for group, level in LEVELS.items()}
ratios, least = {}, {}
for group, bases in GROUPS.items():
    if group not in LEVELS:
        continue
    slow = {kind: bases[kind] for kind in ("detr", "detr-focal", "dab")} | {"detr, long": runs.LONG[group]}
    for kind, base in slow.items():
        found = convergence.speed_up(reached[group], base, bases["conditional"])
        assert len(found) == (1 if kind == "detr, long" else 3)
        text = convergence.ratio_text(found)
        ratios[group, kind] = {"steps, in those of Conditional DETR": text, "seeds": len(found)}
        least[group, kind] = found["ratio"].min()
    long = reached[group].set_index("base").loc[runs.LONG[group]]
    assert long["steps"] < 0.8 * long["trained"]  # before its rate drops
assert min(least.values()) > 1  # Conditional DETR is first, in every seed
assert least["cells", "detr, long"] > 4 and least["headline", "detr, long"] > 3.5 and least["headline", "detr-focal"] > 2
display(pd.DataFrame.from_dict(ratios, orient="index"))

# %%
for group, name in {"cells": "convergence-steps", "headline": "convergence-steps-digits"}.items():
    figure, data = conditional_detr.steps_to_level(METRIC, LEVELS[group], group)
    figures.save(figure, f"extra/{name}", data)
    display(figure)
groups = {"photographs": "cells", "digits": "headline"}
metrics = {name: key for key, name in runs.METRICS.items()}
with_controls(conditional_detr.steps_to_level, metric=metrics, threshold=(0.1, 0.95, 0.05), group=groups)

# %% [markdown]
# Drawn by [`figures.conditional_detr.steps_to_level`](../lib/marginalia/figures/conditional_detr.py).
#
# **Notice.** Conditional DETR is first at the level on both kinds of images, in every seed. Of the long run of DETR's steps it needs a fifth on photographs (to AP50 .4) and a quarter on digits (to .8). The short runs of DETR and of DETR + OR + FL end below the level on photographs, so their ratios are bounds. A short run that crosses after the drop of its rate had help from it; the long runs cross before theirs, so those two ratios are of constant rates, one seed each.
# The paper's "10 times" is another thing again: epochs after which two *whole* trainings, each with its own drop, end alike.
#
# ## 4. What makes the difference: four small tables
#
# The paper takes its method apart. We train each variant again, smaller (width 64, 48 pixels), three seeds each. AP of COCO and AP of our scenes are not the
# same thing, so each has its axis; what can be compared is the **order of the rows**.
#
# **Table 3** asks what the spatial query is made from: $f$ is the embedding that enters the layer, $\lambda$ the scale predicted from it, $p_s$ the positional encoding of the
# reference point, $c_q$ the content query of the layer.
#
# **Predict.** CSQ-P knows where the reference point is, but not what the layer has found. CSQ-C knows the opposite. Which of the two is better here?

# %%
figure, data = conditional_detr.spatial_query_forms()
figures.save(figure, "conditional-detr/spatial-query-forms", data)
for upper, lower in (("CSQ-P", "CSQ-C"), ("CSQ-P", "CSQ-T"), ("CSQ-I", "CSQ-P"), ("CSQ", "CSQ-P")):
    assert (lead("table_3", upper, lower) > 0).all()  # in every seed
print("CSQ against CSQ-I:", lead("table_3", "CSQ", "CSQ-I").round(3).to_dict())
figure

# %% [markdown]
# Drawn by [`figures.conditional_detr.spatial_query_forms`](../lib/marginalia/figures/conditional_detr.py).
#
# **Notice.** The paper's three groups are here, in every seed: without the reference point (CSQ-C, CSQ-T) it goes worst, with it alone (CSQ-P) better, and best when it is scaled by what the decoder knows (CSQ-I, CSQ). Which of the two in the lowest group is better changes with the seed, by a lot;
# and between $\lambda$ from $f$ and from $c_q$ the seeds differ by less than .03 (printed above), where the paper has 0.7 points.
#
# **How much can three seeds say?** We compare two rows seed by seed. With nothing between two rows, three differences have the same sign in one case of four. So "in all three seeds" is a hint, and anything less is "not separated".
#
# For the order of a whole table there is Spearman's rank correlation $\rho$ of our means with the paper's. With five rows there are only $5! = 120$ orders; the last column counts how many of them would do at least as well.


# %%
def agreement(group, step=None):
    """How our order of the rows of a table agrees with the published one: pairs of rows, and ranks of means."""
    values = convergence.values_at(frame, GROUPS[group], "AP", step)
    printed = pd.Series(conditional_detr.published(group))
    pairs = combinations(printed.sort_values(ascending=False).index, 2)
    above = pd.Series([int((values[upper] > values[lower]).sum()) for upper, lower in pairs])
    ranks = rank_agreement(values.mean(), printed[values.columns])
    signs = {"as published": (above == 3).sum(), "reversed": (above == 0).sum()}
    signs["not separated"] = above.isin([1, 2]).sum()
    return signs | {"rho": ranks.rho, "rows": ranks.n, "as good": f"{ranks.as_good} of {ranks.orders}"}


when = {f"{SMALL['steps'] // 2} steps": SMALL["steps"] // 2, f"{SMALL['steps']} steps": None}
rows = {(group, name): agreement(group, step) for group in TABLES for name, step in when.items()}
pd.DataFrame.from_dict(rows, orient="index").round(2)

# %% [markdown]
# **Notice.** The first three columns count pairs of rows: in how many all seeds agree with the paper, in how many they all say the opposite, and in how many they do not agree among
# themselves. The paper's tables are taken after 50 epochs, *early* in the life of a DETR; that is why half of our steps stand beside all of them.
#
# **Figure 5** asks for the form of $T$ in $p_q = T p_s$: the identity, one number, a matrix for each head, a full matrix, or a diagonal. The diagonal is the paper's choice,
# because it is cheap.
#
# **Predict.** How many parameters does the head need that predicts a *full* $T$ of width 64, compared with the diagonal?

# %%
figure, data = conditional_detr.transformation_forms()
figures.save(figure, "conditional-detr/transformation-forms", data)
forms = {form: size(base) for form, base in GROUPS["figure_5"].items()}
assert forms["full"] - forms["diagonal"] == (64 * 64 - 64) * (64 + 1)  # last linear layer, with bias
for upper, lower in (("single", "identity"), ("diagonal", "single"), ("block", "single"), ("full", "single")):
    assert (lead("figure_5", upper, lower) > 0).all()
display(pd.Series(forms, name="parameters").to_frame().T)
figure

# %% [markdown]
# Drawn by [`figures.conditional_detr.transformation_forms`](../lib/marginalia/figures/conditional_detr.py).
#
# **Notice.** Again the paper's groups: the identity is last, one number is better, and block, full and diagonal lie close together at the top. These variants are *not* equally large: the full matrix makes the detector 1.8 times as large, for nothing but its $T$. A form that wins with more parameters has not won by its form.
#
# **Table 4** adds the parts one after the other. In the paper FL comes together with 300 queries in place of 100; here all have 16, so our FL is only the loss and its matching.
#
# **Predict.** Which single step gains most here: OR, FL, or CSQ?

# %%
figure, data = conditional_detr.components()
figures.save(figure, "conditional-detr/components", data)
ladder = [("none", "OR"), ("none", "FL"), ("FL", "OR+FL"), ("OR+FL", "OR+FL+CSQ")]
gains = pd.DataFrame({f"{low} → {high}": lead("table_4", high, low) for low, high in ladder})
together, printed = lead("table_4", "OR+FL", "none"), conditional_detr.published("table_4")
display(gains.T.round(3).assign(published=[printed[high] - printed[low] for low, high in ladder]))
assert len(gains.dropna()) == 3 and (gains.idxmax(axis=1) == gains.columns[-1]).all()  # in every seed
assert (gains["none → FL"] < 0).all() and (gains["none → OR"] + gains["none → FL"] < together).all()
figure

# %% [markdown]
# Drawn by [`figures.conditional_detr.components`](../lib/marginalia/figures/conditional_detr.py).
#
# **Notice.** The last step is by far the largest, as in the paper: CSQ. Against the paper, the focal loss *alone* makes DETR worse here, in every seed. There it brings 300 queries along; and after so few steps the first four rows have hardly learned to detect at all, so read their order as "who wakes up
# first". Reference offset and focal loss help each other: together they gain more than the sum of the two.
#
# Where the **reference point** comes from, Section 4.3 of the paper, is measured in [14_anchor_boxes](14_anchor_boxes.ipynb), which goes on from points to boxes.
#
# ## Here and in the paper
#
# What transfers to small models, and what does not. In the first cell below "here" is computed from the runs; "above in all 3 seeds" is the most that our seeds can say.
#
# | | here | in the paper | why they differ |
# |---|---|---|---|
# | data | 292 photographs of cells, three classes; generated scenes, one to four digits | COCO, 80 classes, many objects | must run on a laptop |
# | backbone | small; photographs: from random weights, digits: learnt to tell digits apart in given boxes | ResNet, ImageNet | no such weights for small images |
# | length | photographs 2,400 steps (of 8 images: 66 passes), once 24,000; digits 1,500 (tables: fewer), once 15,000 | 50, 75, 108 and 500 epochs | the same |
# | queries | 48 on photographs, 16 on digits | 100, with focal loss 300 | the same |
# | recipe | photographs: the better of two learning rates, flips, cut-outs, brightness; digits: one rate, no augmentation; no dropout; temperature 20 in all positional encodings | dropout in Conditional DETR and DETR, crops and scales, a tenth of the rate for the backbone; temperature 10000 in Conditional DETR's encoding | fewer things to tune |
# | size | equal within 5 % between kinds | Conditional DETR has 44 million parameters, DETR 41 | we take that difference away |
# | seeds | three, all shown; one of the long runs, of other rates and of digits' backbone on cells | one, as far as we could read | |
#
# Not checked: anything about long training of Conditional DETR, more than two rates, more than one long seed of DETR.
#
# **Train one again.** Everything above rests on rows in `data/measured/detection`. With `RETRAIN = True` the second cell below makes one of the small runs anew, in memory, and compares. The recipes, in `data/recipes`, are no part of
# the library: `train.parts` gives the step (matching and losses in `set_loss`), the scenes by number and the evaluation, `training.fit` the loop.

# %%
CLAIMS = (  # group, the row that the paper finds better, and the other
    *((group, "conditional", kind) for group in ("cells", "headline") for kind in ("detr", "detr-focal")),
    ("cells", "dab", "conditional"),
    ("headline", "dab", "conditional"),
    ("table_3", "CSQ", "CSQ-P"),
    ("table_3", "CSQ", "CSQ-I"),
    ("figure_5", "diagonal", "single"),
    ("table_4", "OR+FL", "FL"),
    ("reference_point", "predicted", "fixed"),
    ("dab_figure_3", "anchors", "learned"),
)
coco = read_table("published/conditional_detr_coco.csv")
coco = coco.set_index(["model", "backbone", "epochs"])["AP"].sort_index()
printed = {group: conditional_detr.published(group) for group in TABLES}
last = read_table("published/dab_detr_coco.csv").query("model == 'DAB-DETR' and backbone == 'R50'")["AP"].min()
kinds = {"detr": coco["DETR", "R50", 50], "detr-focal": printed["table_4"]["OR+FL"]}
kinds |= {"conditional": coco["Conditional DETR", "R50", 50], "dab": last}
printed |= {"cells": kinds, "headline": kinds, "dab_figure_3": dict.fromkeys(GROUPS["dab_figure_3"], np.nan)}
rows = []
for group, upper, lower in CLAIMS:
    ours = lead(group, upper, lower)
    points = printed[group][upper] - printed[group][lower]
    rows.append((f"{upper} above {lower}", NAMES.get(group, "digits"), points, ours.mean(), convergence.verdict(ours)))
    assert (ours < 0).all() == ((upper, lower) == ("dab", "conditional"))  # alone against the paper, in every seed
columns = ["claim", "on", "published, points of 100", "here, of 1", "here, sign"]
pd.DataFrame(rows, columns=columns).set_index("claim").round(3)

# %%
if RETRAIN:
    sys.path.insert(0, str(store.checkout() / "data" / "recipes"))
    import train

    run = train.RUNS["small-csq-0"]
    model = train.initial(run)
    step, batches, evaluate = train.parts(run, model)
    again = pd.DataFrame(training.fit(model, step, batches, run.options, evaluate)).set_index("step")["AP50"]
    display(pd.DataFrame({"again": again, "held": curves[run.name]}).round(3))

# %% [markdown]
# ## Exercises
#
# **1.** A run of DETR ends after 1500 steps at AP50 .76. Conditional DETR crosses .8 at step 480. What is the best lower bound of the ratio?
#
# **2.** In the paper's own Table 1, Conditional DETR with a ResNet-50 first reaches DETR's AP of 500 epochs at one of 50, 75 and 108 epochs. How many times fewer epochs is that?
# (The numbers are in `coco` above.)
#
# **3.** Write `crossings(steps, values, threshold)`: how often does a curve cross the threshold *upwards*? A curve that starts above has not crossed.

# %%
answer = None  # exercise 1
check(
    answer,
    1500 / 480,
    tolerance=0.01,
    hints={480 / 1500: "The slow one is above the line, the fast one below."},
)
answer = None  # exercise 2
reaches = coco["Conditional DETR", "R50"] >= coco["DETR", "R50", 500]
assert 500 / reaches.idxmax() == 500 / 75
check(
    answer, 500 / 75, tolerance=0.01, hints={10: "That holds for the DC5 backbones; here 40.9 is below 42.0."}
)
crossings = None  # exercise 3
check_function(crossings, {
    "once": (([1, 2, 3], [0.1, 0.5, 0.9], 0.4), 1),
    "never": (([1, 2, 3], [0.1, 0.2, 0.3], 0.4), 0),
    "it starts above": (([1, 2, 3], [0.5, 0.3, 0.6], 0.4), 1),
    "up and down": (([1, 2, 3, 4], [0.1, 0.5, 0.1, 0.5], 0.4), 2),
})  # fmt: skip

# %% [markdown]
# <details><summary>Solutions</summary>
#
# **1.** $1500 / 480 = 3.125$: DETR needs more than 1500 steps, so the ratio is above that, by how much nobody knows.
#
# **2.** DETR has 42.0 after 500 epochs; Conditional DETR 40.9, 42.1 and 43.0 after 50, 75 and 108. So 75 epochs, and $500/75 = 6.67$. With the DC5 backbones 50 epochs suffice (43.8 against 43.3), hence the
# "10 times" that is quoted more often.
#
# **3.** `lambda steps, values, threshold: sum(a < threshold <= b for a, b in zip(values, values[1:]))`. The steps do not matter. `steps_to_reach` takes the first crossing; a noisy curve may fall back.
# </details>
#
# ## Questions for the group
#
# 1. A speed-up at one level can be made larger or smaller by choosing the level. Which level would you fix in advance, and would you rather report AP at equal steps?
# 2. On photographs each kind has the better of two learning rates, on digits all share one. Which is fairer, and how would you spend ten extra runs?
# 3. A claim holds "in all three seeds", and there are ten pairs of rows in a table. How many such pairs would you expect if all rows were equally good?
#
# ## Summary
#
# Four detectors of equal size differ first of all in *when* they find things. On photographs of cells, from random weights, Conditional DETR ends where DETR ends after ten times the steps (one seed), as the paper says of COCO; each kind at its better rate, without which DETR would not have learnt at all. On digits Conditional DETR reaches AP50 .8 with a quarter of the steps of DETR (one seed, the long run; in the others DETR does not get there) and with less than half of those of a DETR with its losses and offsets (three seeds). Small models agree with the paper's tables in what matters: a reference point, scaled by what the
# layer has found; and they disagree on DAB-DETR and on the focal loss alone. And the hare does not win in the end: trained ten times as long, DETR (one seed) is better than the briefly trained Conditional DETR.
#
# **Next:** [14_anchor_boxes](14_anchor_boxes.ipynb): queries that are boxes, and where DAB-DETR falls behind here. [12_attention_maps](12_attention_maps.ipynb) looks at what the heads of these detectors attend to.
#
# **References**
#
# ```bibtex
# @inproceedings{meng2021conditional,
#   title     = {Conditional DETR for Fast Training Convergence},
#   author    = {Meng, Depu and Chen, Xiaokang and Fan, Zejia and Zeng, Gang and Li, Houqiang and Yuan, Yuhui and Sun, Lei and Wang, Jingdong},
#   booktitle = {IEEE/CVF International Conference on Computer Vision},
#   year      = {2021}
# }
# @inproceedings{liu2022dab,
#   title     = {{DAB-DETR}: Dynamic Anchor Boxes are Better Queries for {DETR}},
#   author    = {Liu, Shilong and Li, Feng and Zhang, Hao and Yang, Xiao and Qi, Xianbiao and Su, Hang and Zhu, Jun and Zhang, Lei},
#   booktitle = {International Conference on Learning Representations},
#   year      = {2022}
# }
# @inproceedings{carion2020end,
#   title     = {End-to-End Object Detection with Transformers},
#   author    = {Carion, Nicolas and Massa, Francisco and Synnaeve, Gabriel and Usunier, Nicolas and Kirillov, Alexander and Zagoruyko, Sergey},
#   booktitle = {European Conference on Computer Vision},
#   year      = {2020}
# }
# ```

# %%
print(marginalia.versions("numpy", "pandas", "matplotlib", "torch", "ipywidgets"))
