"""DCMHA / DCFormer (ICML 2024): attention heads that are composed for each pair of tokens."""

from __future__ import annotations

import math
import time
from itertools import product
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from marginalia import plots, training
from marginalia.heads import VARIANTS, DCMHAttention, inspection
from marginalia.heads.tasks import ATTRIBUTES, HEADS, VALUES, Questions, Retriever, questions
from marginalia.plots import DASHED, NEUTRAL, panels
from marginalia.record import Call, evaluating, record
from marginalia.store import data_path, read_table
from marginalia.style import CYCLE, DIVERGING, PALETTE, WIDTH

# Plain, static and dynamic; parts of DCMHA are sky
VARIANT_COLORS = dict.fromkeys(VARIANTS, PALETTE["sky"])
VARIANT_COLORS |= {"MHA": PALETTE["vermilion"], "talking heads": PALETTE["purple"], "DCMHA": PALETTE["blue"]}
# By the token that decides on a branch
BRANCH_COLORS = {"base": NEUTRAL, "query": PALETTE["blue"], "key": PALETTE["vermilion"]}
# Points of MHA and DCMHA, in legends
POINTS = {name: {"marker": "o", "lw": 0, "color": VARIANT_COLORS[name]} for name in ("MHA", "DCMHA")}

KINDS = {"mha": "MHA", "dcmha": "DCMHA", "slow": "DCMHA, lower rate"}  # in names of runs -> in figures
KIND_COLORS = {name: VARIANT_COLORS.get(name, PALETTE["green"]) for name in KINDS.values()}
REPEATS = {"none": "no repeats", "random": "random repeats", "text": "text repeats"}
SHAPES = {  # name -> width D, heads H; from the registry, of published checkpoints, of models trained here
    "405M": (1024, 16),
    "1.4B": (2048, 32),
    "DCFormer-2.8B": (2560, 32),
    "DCPythia-6.9B": (4096, 32),
    "language model, here": (128, 8),
    "retrieval, here": (32, 4),
}


def motivation(model: Retriever | None = None) -> tuple[Figure, dict[str, pd.DataFrame]]:
    """The learned composition of weights, for each of the 16 kinds of question (a, b): look by a, read b.

    Mean of C(i, j) over the questions of a kind, i the question and j the record with the answer. Below: how
    strongly each head's OV circuit reads each attribute. model: by default the shipped one (seed 0).
    Returns (figure, data), data with "C" (a, b, from, to, mean) and "reads" (head, attribute, norm).
    """
    model, asked = model or retriever(), questions(4096, seed=1)
    C, a, b = at_answers(model, asked, "post")[0].numpy(), asked.attribute.numpy(), asked.wanted.numpy()
    kinds = {(look, read): C[(a == look) & (b == read)].mean(0) for look, read in np.ndindex(4, 4)}  # (H, H)
    passed, limit = reads(model), max(np.abs(mean).max() for mean in kinds.values())

    figure, axes = panels(20, 4, 1.35)
    heads = [str(h) for h in range(HEADS)]
    for panel, ((look, read), mean) in zip(axes, kinds.items(), strict=False):
        shown = plots.matrix(panel, mean, limit, diverging=True, rows=heads, columns=heads)
        panel.set_title(f"look by {look}, read {read}", fontsize=8)
    for panel, attribute in zip(axes[16:], range(ATTRIBUTES), strict=True):
        panel.bar(heads, passed[:, attribute], color=NEUTRAL, width=0.6)
        panel.set(ylim=(0, 1.1 * passed.max()), xlabel="head")
        panel.set_title(f"OV reads attribute {attribute}", fontsize=8)
    axes[0].set(xlabel="to head", ylabel="from head")
    figure.colorbar(shown, ax=axes[:16], label="C, mean", shrink=0.6)
    means = _long("a b from to", {"mean": np.reshape([*kinds.values()], (4, 4, HEADS, HEADS))})
    norms = _long("attribute head", {"norm": passed.T})[["head", "attribute", "norm"]]
    return figure, {"C": means, "reads": norms}


def architecture(
    layer: DCMHAttention | None = None, x: Float[Tensor, "1 T D"] | None = None, i: int = 5, j: int = 3
) -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Figure 2: (a) a layer with its two compositions, (b) the branches of the first one for a pair.

    All of it is what goes through `layer` for tokens x, by default those of `example`; token i asks, j is
    attended to. Returns (figure, data): data["maps"] with columns head, i, j, S, S′ (composed), P, P′;
    data["branches"] with a row for each branch and for their sum S′, a column a head.
    """
    if layer is None or x is None:
        layer, x = example()
    with evaluating(layer), record(layer, ["pre", "post"]) as seen:
        layer(x)
    (pre,), (post,) = seen["pre"], seen["post"]
    maps = {"S": pre.inputs["A"], "S′": pre.output, "P": post.inputs["A"], "P′": post.output}
    maps = {name: one[0].numpy() for name, one in maps.items()}  # (H, T, S)
    terms, A = pre.inputs["terms"], pre.inputs["A"][0, :, i, j]
    parts = {name: (A @ C[0]).numpy() for name, C in terms.branches(i, j).items()}
    between = [  # what a branch holds before it writes to the heads: all scores, R numbers, or a gate a head
        ("$A_{ij}$", A, "× base"),
        ("$A_{ij} w_{q1}$", terms.w_q1[0, i] @ A, "× $w_{q2}$"),
        ("$w_{qg}$", terms.w_qg[0, i], "× $A_{ij}$"),
        ("$A_{ij} w_{k1}$", terms.w_k1[0, j] @ A, "× $w_{k2}$"),
        ("$w_{kg}$", terms.w_kg[0, j], "× $A_{ij}$"),
    ]

    figure = plt.figure(figsize=(WIDTH["page"], 5.5), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.4))
    bold = {"x": 0.01, "ha": "left", "fontsize": 9, "weight": "bold"}
    top.suptitle("(a) scores of all heads on their way to composed weights", **bold)
    pair = f"framed pair (i = {i}, j = {j})"
    bottom.suptitle(f"(b) first Compose, {pair}: five branches, {len(A)} heads", **bold)
    _layer(top.subplots(1, 7, width_ratios=(1, 0.5, 1, 0.5, 1, 0.5, 1)), maps, i, j)
    upper, lower = bottom.subplots(2, 6)
    reach = 1.1 * max(np.abs(each).max() for each in (A.numpy(), *parts.values(), maps["S′"][:, i, j]))
    for above, below, name, (label, values, then) in zip(upper, lower, parts, between, strict=False):
        color = BRANCH_COLORS[name.split()[0]]
        _bars(above, values.numpy(), color, 1 if "gate" in name else reach if name == "base" else None)
        _bars(below, parts[name], color, reach)
        above.set_title(name.replace(" ", "\n", 1), fontsize=8)
        above.set_xlabel(label, fontsize=8)
        below.set_title(then, fontsize=8, loc="center")
    plots.matrix(upper[5], terms.matrix(i, j)[0].numpy(), diverging=True)
    upper[5].set_title("all in one:\n$C(i, j)$", fontsize=8)
    upper[5].set_xlabel("from row\nto column", fontsize=7)
    _bars(lower[5], maps["S′"][:, i, j], "black", reach)
    lower[5].set_title("$A\u2032_{ij}$", fontsize=8, loc="center")
    plots.joined(lower, "++++=", 1.14)

    branches = pd.DataFrame(parts | {"S′": maps["S′"][:, i, j]}).T.rename_axis("branch")
    return figure, {"maps": _long("head i j", maps), "branches": branches}


def _layer(row: np.ndarray, maps: dict[str, np.ndarray], i: int, j: int) -> None:
    """Maps (H, T, S) by name into axes 0, 2, 4, 6, the steps between them into 1, 3, 5."""
    titles = {"S": "scores S", "S′": "composed S′", "P": "weights P", "P′": "composed P′"}
    for axes, (name, title) in zip(row[::2], titles.items(), strict=True):
        heads, queries, keys = maps[name].shape
        limit = max(np.abs(each).max() for other, each in maps.items() if other[0] == name[0])
        wide = math.ceil(math.sqrt(heads))
        size = (wide * (keys + 1) - 1, -(-heads // wide) * (queries + 1) - 1)
        for head, one in enumerate(maps[name]):
            y, x = head // wide * (queries + 1), head % wide * (keys + 1)
            axes.imshow(one, DIVERGING, vmin=-limit, vmax=limit, extent=(x, x + keys, y + queries, y))
            for place, color in (((x, y), keys, queries), "0.75"), (((x + j, y + i), 1, 1), "black"):
                axes.add_patch(Rectangle(*place, fill=False, ec=color, lw=1, clip_on=False))
        plots.bare(axes, size)
        axes.spines[:].set_visible(False)
        axes.set_title(title, fontsize=8)
        axes.set_xlabel(f"colours to ±{limit:.2g}", fontsize=7)
    compose = {"tokens": (0.5, 0.12, "none", "$x_i, x_j$"), "step": (0.5, 0.5, "purple", "Compose")}
    for axes in (row[1], row[5]):
        plots.diagram(axes, compose, [("tokens", "step")])
    plots.diagram(row[3], {"step": (0.5, 0.5, "grey", "mask,\nsoftmax")})


def _bars(axes: Axes, values: np.ndarray, color: str, limit: float | None) -> None:
    """A bar a head (or a rank), from 1; limit: of the axis, both ways; None: that of the values."""
    axes.bar(range(1, len(values) + 1), values, color=color, width=0.7, lw=0)
    axes.axhline(0, color="0.5", lw=0.8)
    limit = 1.1 * np.abs(values).max() if limit is None else limit
    axes.set(ylim=(-limit, limit), xticks=range(1, len(values) + 1) if len(values) < 9 else [])
    axes.tick_params(labelsize=7, pad=1)
    axes.locator_params(axis="y", nbins=3)
    axes.grid(axis="x", visible=False)


def speed() -> tuple[Figure, pd.DataFrame]:
    """How many times longer than plain heads compositions take on this machine: one attention, forward.

    D = 512, H = 8, one sequence, no causal mask; the best of four runs made in turn. Returns (figure, data)
    with columns tokens, heads (a name of `VARIANTS`), milliseconds and ratio.
    """
    names, rows = ("MHA", "talking heads", "query-wise", "DCMHA"), []
    layers = {name: DCMHAttention(512, 8, VARIANTS[name]) for name in names}
    for tokens, _, (name, layer) in product((256, 512, 1024), range(4), layers.items()):
        x, started = torch.randn(1, tokens, 512), time.perf_counter()
        with torch.no_grad():
            layer(x)
        rows.append((tokens, name, 1000 * (time.perf_counter() - started)))
    runs = pd.DataFrame(rows, columns=["tokens", "heads", "milliseconds"])
    table = runs.groupby(["tokens", "heads"], sort=False).min().reset_index()
    table["ratio"] = table["milliseconds"] / table.groupby("tokens")["milliseconds"].transform("first")
    figure, (axes,) = panels(1, 1, 2.4)
    for name, one in table.groupby("heads", sort=False):
        axes.plot("tokens", "ratio", "o-", color=VARIANT_COLORS[name], data=one, label=name)
    axes.set(xticks=[256, 512, 1024], ylim=(0, None), xlabel="tokens T = S", ylabel="time / plain heads")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure, table


def training_speed() -> tuple[Figure, pd.DataFrame]:
    """Published training steps a second (TPU v3) of composed models, as a share of the plain model's.

    From comments of the first author; the paper's own table could not be read. Returns (figure, data), data
    with columns model (size and variant) and ratio.
    """
    speed = read_table("published/dcmha_training_speed_tpu.csv").query("hardware == 'TPU v3'")
    plain = speed[speed["variant"] == "baseline"].set_index("model")["steps_per_second"]
    composed = speed[speed["variant"] != "baseline"].reset_index(drop=True)
    ratio = composed["steps_per_second"] / composed["model"].map(plain)
    table = (composed["model"] + ": " + composed["variant"]).to_frame("model").assign(ratio=ratio)

    figure, (axes,) = panels(1, 1, 1.9)
    bars = axes.barh(table.index, table["ratio"], color=CYCLE[0], height=0.6, lw=0)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.axvline(1, color=NEUTRAL, lw=1)
    axes.set(xlabel="training steps a second, as a share of the plain model's", xlim=(0, 1.05))
    plots.lines(axes, table["model"])
    return figure, table


def vision() -> tuple[Figure, pd.DataFrame]:
    """Test accuracy of small vision transformers on digits: plain, talking and composed heads, all seeds."""
    table = read_table("measured/composition/digits_vit.csv")
    figure, (axes,) = panels(1, 1, 1.7)
    _every_seed(axes, table, "accuracy", "variant")
    axes.set(xlabel="test accuracy of 597 digits")
    return figure, table


def ablation() -> tuple[Figure, pd.DataFrame]:
    """Loss and accuracy of retrieval by parts of the composition, of one size, all seeds; not the paper's.

    Returns (figure, data), data as in data/measured/composition/retrieval_variants.csv.
    """
    table = read_table("measured/composition/retrieval_variants.csv")
    return _loss_and_accuracy(table, "variant", 3.2), table


def synthetic_tasks() -> tuple[Figure, pd.DataFrame]:
    """Accuracy on word tasks with three candidates, in our own words, by relation and by form, all seeds.

    Questions about pairs that training did not have. Two-layer models of one size; chance is a third.
    """
    table = read_table("measured/composition/word_tasks.csv").query("held_out")
    table["question"] = table["form"] + ", " + table["polarity"]
    figure, axes = panels(2, 2, 2.6)
    for panel, line in zip(axes, ("relation", "question"), strict=True):
        means = table.groupby(["variant", "seed", line], sort=False)["accuracy"].mean().reset_index()
        _every_seed(panel, means, "accuracy", line)
        panel.axvline(1 / 3, color=NEUTRAL, lw=0.8, ls=DASHED)
        panel.set(xlim=(0, 1), xlabel="accuracy (dashed: chance)", title=f"by {line}")
    plots.legend(figure, POINTS)
    return figure, table


def head_diversity() -> tuple[Figure, pd.DataFrame]:
    """How alike the heads of a layer are: mean cosine of their attention maps, before and after composition.

    Of 18 language models of equal size on held-out text. Returns (figure, data), data with columns heads,
    repeats, seed, layer, map and similarity.
    """
    keys = ["heads", "repeats", "seed", "layer", "map"]
    table = language_table("heads").groupby(keys, sort=False)["similarity"].mean().reset_index()
    shown = [("DCMHA", "raw"), ("DCMHA", "weights"), ("DCMHA", "composed"), ("MHA", "weights")]
    figure, axes = panels(3, 3, 2.4, sharey=True)
    for layer, panel in enumerate(axes):
        own = table[table["layer"] == layer].groupby(["heads", "map"])["similarity"]
        for place, (heads, name) in enumerate(shown):
            here = own.get_group((heads, name))
            panel.plot(np.full(len(here), place), here, "o", ms=4, alpha=0.6, color=KIND_COLORS[heads])
        panel.set(title=f"layer {layer}", ylim=(0, 1), xlim=(-0.5, 3.5))
        panel.set_xticks(range(4), ["raw\nscores", "after\npre", "after\npost", "plain\nheads"])
        panel.axvline(2.5, color="0.8", lw=0.8)
    axes[0].set_ylabel("mean cosine of two heads' maps")
    return figure, table


# --- Ours


def costs(shape: tuple[int, int, int] | None = None) -> tuple[Figure, pd.DataFrame]:
    """What two compositions of rank 2 add to a layer of 12 D² parameters: shares, by formula.

    Left: parameters against the width of a head; right: additions and multiplications a token of a forward
    pass, against the number of keys S. shape: D, H and tokens T of a model of yours. Returns (figure, data):
    model, D, H, D_h and the shares `parameters`, `cache` (factors of the key side beside keys and values) and
    `cache_dense` (two H x H matrices in their place), then `operations_S` at 512, 2048, 8192 (and T) keys.
    """
    shapes = SHAPES | ({"yours": shape[:2]} if shape else {})
    keys = sorted({512, 2048, 8192, *(shape[2:] if shape else ())})
    D, H = np.array(list(shapes.values())).T
    added = 20 * D * H + 64 * H**2

    def operations(S):  # the weights of the composition are made, then applied to S keys
        return (2 * added + 40 * H * S) / (24 * D**2 + 4 * D * S)

    table = pd.DataFrame({"model": list(shapes), "D": D, "H": H, "D_h": D // H})
    table = table.assign(parameters=added / (12 * D**2), cache=10 * H / (2 * D), cache_dense=H**2 / D)
    table = table.assign(**{f"operations_{S}": operations(S) for S in keys})

    figure, (left, right) = panels(2, 2, 2.9)
    grid, S = np.geomspace(6, 160), np.geomspace(128, 16384)
    left.plot(grid, 5 / (3 * grid), color=NEUTRAL, lw=1, label="5 / (3 $D_h$), without 64 H²")
    for k, row in table.iterrows():
        color = "black" if row["model"] == "yours" else CYCLE[k]
        left.plot(row["D_h"], row["parameters"], "o", color=color)
        right.plot(S, [operations(one)[k] for one in S], color=color, label=row["model"])
    for axes, label, top in ((left, "width of a head, $D_h$", 0.5), (right, "keys S", 2)):
        axes.set(xscale="log", yscale="log", xlabel=label, ylim=(0.01, top), yticks=[0.01, 0.03, 0.1, 0.3])
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.minorticks_off()
    left.set(ylabel="parameters added to a layer")
    left.set_xticks([8, 16, 64, 128], [8, 16, 64, 128])
    left.legend(loc="upper right")
    right.set(ylabel="operations added to a layer", yticks=[0.01, 0.1, 1])
    right.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure, table


def setups() -> tuple[Figure, pd.DataFrame]:
    """Loss and accuracy of MHA and DCMHA in ten set-ups of retrieval, all seeds; data with `setup`."""
    table = read_table("measured/composition/retrieval_setups.csv")
    names = {"rms": "RMSNorm", "layer": "LayerNorm"}
    table["setup"] = table["table"] + ", std " + table["std"].astype(str) + ", " + table["norm"].map(names)
    table["setup"] += table["linear"].map({"torch": "", "xavier": ", Xavier"})
    figure = _loss_and_accuracy(table, "setup", 3.6)
    plots.legend(figure, POINTS)
    return figure, table


def composition_of_pair(pre: Call, post: Call, i: int, j: int) -> tuple[Figure, pd.DataFrame]:
    """C(i, j) - I of one pair of tokens before and after the softmax, in its terms, and who gives to whom.

    pre, post: calls of both compositions of a layer, as `record` has them; token i asks, j is attended to.
    Returns (figure, data): where, giver, receiver, C - I as `entry` and what is given, A_n (C - I)_nm.
    """
    figure = plt.figure(figsize=(WIDTH["page"], 5.2), layout="constrained")
    *above, below = figure.subfigures(3, 1, height_ratios=(1, 1, 1.5))
    bars, tables = below.subplots(1, 7, width_ratios=(1, 1, 1, 0.25, 1, 1, 1)), {}
    bars[3].set_axis_off()
    given = {"scores (pre)": pre, "weights (post)": post}
    for part, places, (name, call) in zip(above, (bars[:3], bars[4:]), given.items(), strict=True):
        A, A_composed = (each[0, :, i, j].numpy() for each in (call.inputs["A"], call.output))
        branches = {k: C[0].numpy() for k, C in call.inputs["terms"].branches(i, j, len(A)).items()}
        branches["base"] = branches["base"] - np.eye(len(A))
        terms = {"C − I": sum(branches.values())} | {k: C for k, C in branches.items() if C.any()}
        limit = max(np.abs(each).max() for each in terms.values())
        panels = part.subplots(1, max(5, len(terms)))
        for axes, (title, term) in zip(panels, terms.items(), strict=False):
            shown = plots.matrix(axes, term, limit, diverging=True)
            axes.set_box_aspect(1)
            axes.set_title(title, fontsize=8)
        for axes in panels[len(terms) :]:
            axes.set_axis_off()
        panels[0].set(ylabel=f"{name}\ngives", xlabel="receives")
        part.colorbar(shown, ax=panels)

        passed = A[:, None] * terms["C − I"]  # from head n to head m
        reach = [min(0, *A, *A_composed), max(0, *A, *A_composed)]
        for axes, values, title in zip(places[::2], (A, A_composed), ("before", "after"), strict=True):
            axes.barh(range(len(A)), values, color="0.45", height=0.7)
            plots.lines(axes, range(len(A)))
            axes.set(xlim=np.multiply(1.1, reach), ylim=(len(A) - 0.5, -0.5))
            axes.set_title(f"{name.split()[0]} {title}", fontsize=8)
        plots.flows(places[1], passed)
        tables[name] = _long("giver receiver", {"entry": terms["C − I"], "given": passed})
    bars[0].set_ylabel("head")
    return figure, pd.concat(tables, names=["where"]).reset_index("where").reset_index(drop=True)


def head_patterns() -> tuple[Figure, pd.DataFrame]:
    """Attention of the best head to the token before, and to what followed the first time, in 18 models.

    Maps of raw scores, after pre-compose, after post-compose. Returns (figure, data), data with columns
    heads, repeats, seed, map, previous and induction (the highest of 24 heads).
    """
    keys = ["heads", "repeats", "seed", "map"]
    table = language_table("heads").groupby(keys, sort=False)[["previous", "induction"]].max().reset_index()
    table = table[(table["heads"] == "DCMHA") | (table["map"] == "weights")].reset_index(drop=True)
    looks = {  # map -> its name, its points
        "raw": ("raw scores", {"marker": "v", "ls": "", "mfc": "white"}),
        "weights": ("after pre: the weights", {"marker": "o", "ls": ""}),
        "composed": ("after post", {"marker": "D", "ls": ""}),
    }
    titles = ("to the token before (text)", "induction (random tokens, twice)")
    figure, axes = panels(2, 2, 2.9, titles, sharey=True)
    groups = list(product(("MHA", "DCMHA"), REPEATS.values()))
    for panel, score in zip(axes, ("previous", "induction"), strict=True):
        for (heads, repeats, name), own in table.groupby(["heads", "repeats", "map"]):
            where = groups.index((heads, repeats)) + (own["seed"] - 1) * 0.22
            panel.plot(where, own[score], ms=4.5, alpha=0.8, color=KIND_COLORS[heads], **looks[name][1])
        panel.axvline(2.5, color="0.8", lw=0.8)
        panel.set_xticks(range(6), [repeats.replace(" ", "\n") for _, repeats in groups])
        panel.set(ylim=(0, 1))
    axes[0].set_ylabel("attention of the best head")
    entries = {name: look | {"color": KIND_COLORS["DCMHA"]} for name, look in looks.values()}
    plain = looks["weights"][1] | {"color": KIND_COLORS["MHA"]}
    plots.legend(figure, {"plain heads": plain} | entries)
    return figure, table


def language_training() -> tuple[Figure, pd.DataFrame]:
    """Loss on held-out text, and on random tokens that come a second time, over training; a line a seed.

    Returns (figure, data), data with columns heads, repeats, seed, step, held_out and random_again.
    """
    table = language_runs()[["heads", "repeats", "seed", "step", "held_out", "random_again"]]
    figure, axes = panels(6, 3, 2.1, sharex=True)
    for k, (metric, repeats) in enumerate(product(("held_out", "random_again"), REPEATS.values())):
        for (heads, _), run in table[table["repeats"] == repeats].groupby(["heads", "seed"], sort=False):
            axes[k].plot("step", metric, data=run, color=KIND_COLORS[heads], lw=1.1, alpha=0.8)
        axes[k].set(ylim=(2.6, 4) if metric == "held_out" else (0, 11.5), title=repeats if k < 3 else "")
    axes[0].set_ylabel("held-out text [nats]")
    axes[3].set_ylabel("second time [nats]")
    axes[4].set_xlabel("steps")
    plots.legend(figure, {name: {"color": color} for name, color in KIND_COLORS.items()})
    return figure, table


def loss_differences(step: int) -> pd.DataFrame:
    """Held-out loss at a step of the 27 trainings, those of a seed side by side; NaN where one has ended.

    Indexed by repeats and seed; columns are kinds of heads, differences, and whether induction has formed.
    """
    runs = language_runs().query("step == @step").set_index(["repeats", "seed"])
    table = runs.pivot(columns="heads", values="held_out").reindex(columns=list(KINDS.values()))
    induction = runs.pivot(columns="heads", values="random_induction").reindex(columns=table.columns)
    for heads in ("DCMHA", "DCMHA, lower rate"):
        table[f"{heads} − MHA"] = table[heads] - table["MHA"]
    return table.assign(**{"induction, lower rate": induction["DCMHA, lower rate"]})


def what_is_lost() -> pd.DataFrame:
    """By how much the loss of 18 models grows without their most important head, and without a composition.

    Indexed by heads, repeats, seed and text; heads are replaced by zero, a composition by the identity.
    """
    table, keys = language_table("ablations"), ["heads", "repeats", "seed", "text"]
    single = table[table["part"].str.endswith("zero")]
    lost = single.groupby(keys)["effect"].max().to_frame("best head")
    lost["best head of layer 2"] = single[single["layer"] == 2].groupby(keys)["effect"].max()
    for layer, where in product(range(3), ("pre", "post")):
        own = table[(table["part"] == f"{where}: all") & (table["layer"] == layer)]
        lost[f"{where}, layer {layer}"] = own.set_index(keys)["effect"]
    return lost


def composition_score_maps(weights: inspection.HeadWeights) -> tuple[Figure, pd.DataFrame]:
    """Q-, K- and V-composition scores of all pairs of heads, as multiples of what random heads have.

    Returns (figure, data), data with columns kind, head 1 (writes), head 2 (reads) and over random, largest
    first; heads are named layer.head.
    """
    layers, heads, width = weights.W_Q.shape[:3]
    names, tables = np.array([f"{n}.{h}" for n, h in np.ndindex(layers, heads)]), []
    figure, axes = panels(3, 3, 2.7)
    for panel, kind in zip(axes, "qkv", strict=True):
        scores = inspection.composition_scores(weights, kind)[:-1, :, 1:]  # layers 0 to L - 2 with 1 to L - 1
        scores = scores.flatten(2).flatten(0, 1).numpy() / inspection.random_baseline(width)
        figure.colorbar(plots.matrix(panel, scores), ax=panel, location="bottom", label="times random")
        panel.set(title=f"{kind.upper()}-composition", xlabel="head 2 reads", box_aspect=1)
        step = heads * max(1, layers // 6)
        panel.set_xticks(range(0, scores.shape[1], step), names[heads::step])
        panel.set_yticks(range(0, len(scores), step), names[:-heads:step])
        n, m = np.nonzero(~np.isnan(scores))
        named = {"kind": kind.upper(), "head 1": names[n], "head 2": names[heads + m]}
        tables.append(pd.DataFrame(named | {"over random": scores[n, m]}))
    axes[0].set_ylabel("head 1 writes")
    return figure, pd.concat(tables).sort_values("over random", ascending=False, ignore_index=True)


def score_predictions() -> tuple[Figure, pd.DataFrame]:
    """Rank correlation of scores of weights with the size of interaction, nine plain models, two texts.

    Intervals are a bootstrap over 192 pairs of heads, ranked within pairs of layers. Returns (figure, data).
    """
    table = language_table("predictions")
    figure, axes = panels(2, 2, 3.4, ("held-out text", "random tokens, second time"), sharey=True)
    order = [f"{kind}-{name}" for name in ("composition", "kernel") for kind in "qkv"]
    colors = PALETTE["grey"], PALETTE["orange"], PALETTE["purple"]  # not those of kinds of heads
    for panel, text in zip(axes, ("held_out", "random"), strict=True):
        for k, (repeats, seed) in enumerate(product(REPEATS.values(), range(3))):
            own = table[(table[["text", "repeats", "seed"]] == [text, repeats, seed]).all(axis=1)]
            plots.intervals(panel, own, "rho", "score", colors[k // 3], (k - 4) * 0.085, order=order)
        panel.set(xlim=(-0.7, 0.7), xlabel="rank correlation with size of interaction")
    marks = ({"color": color, "marker": "o"} for color in colors)
    plots.legend(figure, dict(zip(REPEATS.values(), marks, strict=True)))
    return figure, table


def largest_interactions() -> pd.DataFrame:
    """For each of nine plain models, its pair of heads with the largest interaction on random tokens.

    Columns: run, pair (layer.head), interaction, its size over the median of 192 pairs, its rank by
    K-composition, and whether the pair first by K-composition leads from one of the two best
    previous-token heads to one of the two best induction heads.
    """
    pairs, rows = language_table("interactions"), {}
    patterns = language_table("heads").query("heads == 'MHA' and map == 'weights'")
    for run, own in pairs.groupby("run"):
        own = own.sort_values("k-composition", ascending=False, ignore_index=True)
        heads = patterns[patterns["run"] == run].set_index(["layer", "head"])
        sizes = own["interaction_random"].abs()
        links = list(own[["layer_1", "head_1", "layer_2", "head_2"]].itertuples(index=False, name=None))
        most, first = links[sizes.idxmax()], links[0]
        rows[run] = {
            "pair": "{}.{} to {}.{}".format(*most),
            "interaction": own["interaction_random"][sizes.idxmax()],
            "over median": sizes.max() / sizes.median(),
            "rank of largest by K": sizes.idxmax() + 1,
            "previous to induction": first[:2] in heads["previous"].nlargest(2).index
            and first[2:] in heads["induction"].nlargest(2).index,
        }
    return pd.DataFrame.from_dict(rows, "index").rename_axis("run").reset_index()


def heads_of(name: str, text: str) -> tuple[Figure, pd.DataFrame, pd.DataFrame]:
    """The heads of a reader's Hugging Face model: composition scores, patterns and how alike maps are.

    name: folder or hub name of a family that `heads.inspection` reads. Without a tokenizer beside the model,
    or with fewer than 8 different tokens in the text, random tokens that come twice take its place.
    ValueError where no model is found. Returns figure and data of `composition_score_maps`, and scores
    indexed by layer and head.
    """
    from transformers import AutoModel, AutoTokenizer

    try:
        model = AutoModel.from_pretrained(name, attn_implementation="eager")
    except OSError as error:
        raise ValueError(f"{name}: no model is there, neither a folder nor a name on the hub") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=128)["input_ids"]
        if ids.unique().numel() < 8:
            raise ValueError("the text has fewer than 8 different tokens")
    except (OSError, ValueError) as error:
        print(f"Random tokens that come twice are taken ({error}).")
        ids = torch.randint(5, model.config.vocab_size, (4, 32)).repeat(1, 2)
    with evaluating(model):
        attention = model(ids, output_attentions=True).attentions  # L of (B, H, T, T)
    rows = []
    for A in attention:
        others = (inspection.head_similarity(A).sum(1) - 1) / max(1, A.shape[1] - 1)
        scores = inspection.pattern_scores(A, ids) | {"like others": others}
        rows.append(pd.DataFrame({name: values.numpy() for name, values in scores.items()}))
    figure, largest = composition_score_maps(inspection.head_weights(model))
    return figure, largest, pd.concat(dict(enumerate(rows)), names=["layer", "head"])


def atom_mapping() -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Attention of a trained reaction model from product to reactant atoms, and how often each head is right.

    Left: heads 5 and 2 of layer 7, one reaction, each row over its largest weight; right: share of atoms, of
    48 reactions, at which a head's largest attention hits. Returns (figure, data): data["map"] (weights of
    head 5 and 2) and data["accuracy"].
    """
    found = read_table("measured/composition/reactions_map.csv").query("head in (5, 2)")
    accuracy = read_table("measured/composition/reactions_accuracy.csv")
    accuracy = accuracy.query("direction == 'to reactants' and product == 'all'")
    figure, axes = panels(3, 3, 2.8)
    for panel, head in zip(axes, (5, 2), strict=False):
        weights = found[found["head"] == head].pivot(index="query", columns="key", values="weight")
        shown = plots.matrix(panel, weights.div(weights.max(axis=1), axis=0), 1)
        panel.set(title=f"layer 7, head {head}", xlabel="atom of the reactants")
        for axis, count in zip((panel.yaxis, panel.xaxis), weights.shape, strict=True):
            axis.set_ticks(range(0, count, 3), range(0, count, 3))
    axes[0].set_ylabel("atom of the product")
    figure.colorbar(shown, ax=axes[:2], label="attention / largest of the row", location="bottom", shrink=0.6)
    levels = accuracy.pivot(index="layer", columns="head", values="accuracy")
    shown = plots.matrix(axes[2], 100 * levels, 100, digits=0, rows=levels.index, columns=levels.columns)
    axes[2].set(title="atoms mapped rightly [%]", xlabel="head", ylabel="layer")
    figure.colorbar(shown, ax=axes[2], location="bottom", shrink=0.8)
    return figure, {"map": found, "accuracy": accuracy}


# --- what they share


def example() -> tuple[DCMHAttention, Float[Tensor, "1 T D"]]:
    """An untrained causal layer of 4 heads and width 32, and six tokens for it.

    Its composition weights are drawn larger than at the start of a training, so that all branches show.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layer = DCMHAttention(32, 4, causal=True)
        nn.init.normal_(layer.wqkv.weight, std=0.25)
        for side in (layer.pre.query, layer.pre.key, layer.post.query, layer.post.key):
            nn.init.normal_(side.W_2, std=0.05)
            nn.init.normal_(side.W_g, std=0.12)
        return layer.eval(), torch.randn(1, 6, 32)


def retriever() -> Retriever:
    """The shipped retriever, DCMHA of seed 0."""
    data_path("weights/composition/retrieval-dcmha-0.json")  # the card is read too
    weights, _ = training.load(data_path("weights/composition/retrieval-dcmha-0.safetensors"))
    model = Retriever(VARIANTS["DCMHA"])
    model.load_state_dict(weights)
    return model.eval()


def at_answers(
    model: Retriever, asked: Questions, where: Literal["pre", "post"]
) -> tuple[Float[Tensor, "B H H"], Float[Tensor, "B H"], Float[Tensor, "B H"]]:
    """The composition at the records with the answers: C, and scores or weights before and after it.

    model: with DCMHA, whose C depends on the tokens.
    """
    with evaluating(model), record(model, f"attention.{where}") as seen:
        model(asked)
    (call,) = seen[f"attention.{where}"]
    each, keys = torch.arange(len(asked.place)), torch.arange(asked.records.shape[1])
    C = call.inputs["terms"].matrix(0 * keys, keys)[each, asked.place]  # (B, S, H, H) -> (B, H, H)
    given, received = (A[each, :, 0, asked.place] for A in (call.inputs["A"], call.output))  # (B, H)
    return C, given, received


def explained(values: Float[Tensor, "B H H"], group: Int[Tensor, " B"]) -> float:
    """Share of the variance of matrices, all entries together, that lies between groups (numbers from 0)."""
    off = (values - values.mean(0)).flatten(1)  # (B, H H)
    member = torch.nn.functional.one_hot(group).to(off)  # (B, groups)
    between = (member.T @ off).square().sum(1) / member.sum(0).clamp(min=1)  # (groups,)
    return (between.sum() / off.square().sum()).item()


def reads(model: Retriever) -> Float[np.ndarray, "H attributes"]:
    """How strongly each head's OV circuit reads each attribute: norm of what it makes of the 8 values."""
    with torch.no_grad():
        values = model.records.weight.unflatten(0, (ATTRIBUTES, VALUES))  # (attributes, values, D)
        values = (values - values.mean(1, keepdim=True)) * model.attention_norm.weight
        w_v = model.attention.wqkv.weight.chunk(3)[2].unflatten(0, (HEADS, -1))  # (H, D_h, D)
        w_o = model.attention.wo.weight.unflatten(1, (HEADS, -1))  # (D, H, D_h)
        passed = torch.einsum("avd,hkd,ehk->have", values, w_v, w_o)  # (H, attributes, values, D)
    return passed.flatten(2).norm(dim=2).numpy()


def _every_seed(axes: Axes, table: pd.DataFrame, value: str, line: str) -> None:
    """Mean, range and every seed of `value`, `line` from the top, coloured by variant.

    Where a line is not a variant, it has MHA above DCMHA.
    """
    order = list(table[line].unique())
    for variant, part in table.groupby("variant", sort=False):
        shift = 0 if line == "variant" else {"MHA": -0.25, "DCMHA": 0.1}[variant]
        plots.seed_ranges(axes, part, value, line, color=VARIANT_COLORS[variant], shift=shift, order=order)


def _loss_and_accuracy(table: pd.DataFrame, line: str, height: float) -> Figure:
    """Loss (logarithmic) and accuracy of retrievers beside each other, every seed a dot."""
    figure, axes = panels(2, 2, height, sharey=True)
    axes[0].set(xscale="log", xlabel="loss [nats], log scale")
    chance = {"test_loss": np.log(VALUES), "accuracy": 1 / VALUES}
    for panel, (value, reference) in zip(axes, chance.items(), strict=True):
        _every_seed(panel, table, value, line)
        panel.axvline(reference, color=NEUTRAL, lw=0.8, ls=DASHED)
    axes[1].set(xlim=(0, 1.03), xlabel="accuracy (dashed: chance)")
    return figure


def language_table(name: str) -> pd.DataFrame:
    """A table measured on the language models, with `heads`, `repeats` and `seed` of each run."""
    table = read_table(f"measured/composition/language_{name}.csv")
    parts = table["run"].str.extract(r"language-(\w+)-(\w+)-(\d+)")
    parts = {"heads": parts[0].map(KINDS), "repeats": parts[1].map(REPEATS), "seed": parts[2].astype(int)}
    return table.assign(**parts)


def language_runs() -> pd.DataFrame:
    """The 27 trainings: losses and head scores every 100 steps, with `heads`, `repeats` and `seed`."""
    tables = []
    for (kind, heads), (repeat, repeats), seed in product(KINDS.items(), REPEATS.items(), range(3)):
        one = read_table(f"measured/composition/language/language-{kind}-{repeat}-{seed}.csv")
        tables.append(one.assign(heads=heads, repeats=repeats, seed=seed))
    return pd.concat(tables, ignore_index=True)


def _long(names: str, arrays: dict[str, np.ndarray]) -> pd.DataFrame:
    """Arrays of one shape as columns, behind a column for each of their axes, which `names` has names for."""
    places = np.indices(next(iter(arrays.values())).shape)
    columns = dict(zip(names.split(), places, strict=True)) | arrays
    return pd.DataFrame({name: values.ravel() for name, values in columns.items()})
