"""DCMHA / DCFormer (ICML 2024): attention heads that are composed for each pair of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from marginalia import plots, training
from marginalia.heads import VARIANTS
from marginalia.heads.tasks import ATTRIBUTES, HEADS, VALUES, WIDTH, Questions, Retriever, questions
from marginalia.plots import DASHED, NEUTRAL, panels
from marginalia.record import evaluating, record
from marginalia.store import data_path, read_table
from marginalia.style import CYCLE, PALETTE


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
    bars = axes.barh(table["model"], table["ratio"], color=CYCLE[0], height=0.6, lw=0)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.axvline(1, color=NEUTRAL, lw=1)
    axes.set(xlabel="training steps a second, as a share of the plain model's", xlim=(0, 1.05))
    axes.grid(axis="y", visible=False)
    axes.invert_yaxis()
    return figure, table


# --- Small models trained here: mix-and-match retrieval, word tasks, digits

# Plain, static and dynamic; parts of DCMHA are sky
VARIANT_COLORS = dict.fromkeys(VARIANTS, PALETTE["sky"])
VARIANT_COLORS |= {"MHA": PALETTE["vermilion"], "talking heads": PALETTE["purple"], "DCMHA": PALETTE["blue"]}


def _every_seed(
    axes: Axes, table: pd.DataFrame, value: str, line: str, lines: Sequence[str], shift: float = 0.0
) -> None:
    """A dot a seed: `value` to the right, `line` from the top, coloured by variant; means as short bars."""
    place = table[line].map(list(lines).index) + shift
    colors = table["variant"].map(VARIANT_COLORS)
    beside = 0.05 * (table["seed"] - table["seed"].mean())  # equal values do not hide each other
    axes.scatter(table[value], place + beside, 22, colors, alpha=0.75, linewidth=0, zorder=3)
    means = table.assign(place=place, color=colors).groupby(["place", "color"])[value].mean()
    for (y, color), mean in means.items():
        axes.plot([mean, mean], [y - 0.16, y + 0.16], color=color, linewidth=1.6)
    axes.set_yticks(range(len(lines)), lines)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def _loss_and_accuracy(table: pd.DataFrame, line: str, height: float, shifts: dict[str, float]) -> Figure:
    """Loss (logarithmic) and accuracy of retrievers beside each other, every seed a dot."""
    figure, axes = panels(2, 2, height, sharey=True)
    for variant, shift in shifts.items():
        part = table if variant == "all" else table[table["variant"] == variant]
        for panel, value in zip(axes, ("test_loss", "accuracy"), strict=True):
            _every_seed(panel, part, value, line, table[line].unique(), shift)
    axes[0].set(xscale="log", xlabel="loss [nats], log scale")
    axes[0].axvline(np.log(VALUES), color=NEUTRAL, linewidth=0.8, linestyle=DASHED)
    axes[1].set(xlim=(0, 1.03), xlabel="accuracy (dashed: chance)")
    axes[1].axvline(1 / VALUES, color=NEUTRAL, linewidth=0.8, linestyle=DASHED)
    return figure


def ablation() -> tuple[Figure, pd.DataFrame]:
    """Mix-and-match retrieval: parts of the composition, all of one size, all seeds; ours, not the paper's.

    Returns (figure, data), data as in data/measured/composition/retrieval_variants.csv.
    """
    table = read_table("measured/composition/retrieval_variants.csv")
    return _loss_and_accuracy(table, "variant", 3.2, {"all": 0}), table


def setups() -> tuple[Figure, pd.DataFrame]:
    """Mix-and-match retrieval: MHA and DCMHA in ten set-ups, all seeds; data with a column `setup`."""
    table = read_table("measured/composition/retrieval_setups.csv")
    names = {"rms": "RMSNorm", "layer": "LayerNorm"}
    table["setup"] = table["table"] + ", std " + table["std"].astype(str) + ", " + table["norm"].map(names)
    table["setup"] += table["linear"].map({"torch": "", "xavier": ", Xavier"})
    figure = _loss_and_accuracy(table, "setup", 3.6, {"MHA": -0.16, "DCMHA": 0.16})
    point = {"marker": "o", "linewidth": 0}
    plots.legend(figure, {name: point | {"color": VARIANT_COLORS[name]} for name in ("MHA", "DCMHA")})
    return figure, table


def retriever(name: str = "DCMHA") -> Retriever:
    """The shipped retriever of seed 0: "MHA" or "DCMHA"."""
    weights, _ = training.load(data_path(f"weights/composition/retrieval-{name.lower()}-0.safetensors"))
    data_path(f"weights/composition/retrieval-{name.lower()}-0.json")
    model = Retriever(VARIANTS[name])
    model.load_state_dict(weights)
    return model.eval()


def at_answers(
    model: Retriever, asked: Questions, where: Literal["pre", "post"]
) -> tuple[Float[Tensor, "B H H"], Float[Tensor, "B H"], Float[Tensor, "B H"]]:
    """The composition at the records with the answers: C, and scores or weights before and after it."""
    with evaluating(model), record(model, f"attention.{where}") as seen:
        model(asked)
    (call,) = seen[f"attention.{where}"]
    each, keys = torch.arange(len(asked.place)), torch.arange(asked.records.shape[1])
    C = call.inputs["terms"].matrix(torch.zeros_like(keys), keys, HEADS)  # (B or 1, S, H, H)
    C = C.expand(len(each), *C.shape[1:])[each, asked.place]
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
        w_v = model.attention.wqkv.weight[2 * WIDTH :].unflatten(0, (HEADS, -1))  # (H, D_h, D)
        w_o = model.attention.wo.weight.unflatten(1, (HEADS, -1))  # (D, H, D_h)
        passed = torch.einsum("avd,hkd,ehk->have", values, w_v, w_o)  # (H, attributes, values, D)
    return passed.flatten(2).norm(dim=2).numpy()


def motivation(model: Retriever | None = None) -> tuple[Figure, dict[str, pd.DataFrame]]:
    """The learned composition of weights, for each of the 16 kinds of question (a, b): look by a, read b.

    Mean of C(i, j) over the questions of a kind, i the question and j the record with the answer. Below: how
    strongly each head's OV circuit reads each attribute. model: by default the shipped one (seed 0).
    Returns (figure, data), data with "C" (a, b, from, to, mean) and "reads" (head, attribute, norm).
    """
    model, asked = model or retriever(), questions(4096, seed=1)
    C = at_answers(model, asked, "post")[0].numpy()
    kinds = np.stack(
        [
            [
                C[(asked.attribute == a).numpy() & (asked.wanted == b).numpy()].mean(0)
                for b in range(ATTRIBUTES)
            ]
            for a in range(ATTRIBUTES)
        ]
    )  # (a, b, H, H)
    passed = reads(model)

    figure, axes = panels(20, 4, 1.35)
    heads = [str(h) for h in range(HEADS)]
    for (a, b), panel in zip(np.ndindex(4, 4), axes, strict=False):
        shown = plots.matrix(
            panel, kinds[a, b], np.abs(kinds).max(), diverging=True, rows=heads, columns=heads
        )
        panel.set_title(f"look by {a}, read {b}", fontsize=8)
    for b, panel in enumerate(axes[16:]):
        panel.bar(heads, passed[:, b], color=NEUTRAL, width=0.6)
        panel.set(ylim=(0, 1.1 * passed.max()), xlabel="head")
        panel.set_title(f"OV reads attribute {b}", fontsize=8)
    axes[0].set(xlabel="to head", ylabel="from head")
    figure.colorbar(shown, ax=axes[:16], label="C, mean", shrink=0.6)
    index = pd.MultiIndex.from_product([range(4)] * 4, names=["a", "b", "from", "to"])
    norms = (
        pd.DataFrame(passed)
        .rename_axis("head")
        .melt(ignore_index=False, var_name="attribute", value_name="norm")
    )
    return figure, {
        "C": pd.Series(kinds.ravel(), index, name="mean").reset_index(),
        "reads": norms.reset_index(),
    }


def synthetic_tasks() -> tuple[Figure, pd.DataFrame]:
    """Word tasks with three candidates, in our own words: accuracy by relation and by form, all seeds.

    Questions about pairs that training did not have. Two-layer models of one size; chance is a third.
    """
    table = read_table("measured/composition/word_tasks.csv").query("held_out")
    table["question"] = table["form"] + ", " + table["polarity"]
    figure, axes = panels(2, 2, 2.6)
    for panel, line in zip(axes, ("relation", "question"), strict=True):
        means = table.groupby(["variant", "seed", line], sort=False)["accuracy"].mean().reset_index()
        for variant, shift in (("MHA", -0.16), ("DCMHA", 0.16)):
            part = means[means["variant"] == variant]
            _every_seed(panel, part, "accuracy", line, means[line].unique(), shift)
        panel.axvline(1 / 3, color=NEUTRAL, linewidth=0.8, linestyle=DASHED)
        panel.set(xlim=(0, 1), xlabel="accuracy (dashed: chance)", title=f"by {line}")
    point = {"marker": "o", "linewidth": 0}
    plots.legend(figure, {name: point | {"color": VARIANT_COLORS[name]} for name in ("MHA", "DCMHA")})
    return figure, table


def vision() -> tuple[Figure, pd.DataFrame]:
    """A small vision transformer on digits: test accuracy of plain, talking and composed heads, all seeds."""
    table = read_table("measured/composition/digits_vit.csv")
    figure, (axes,) = panels(1, 1, 1.7)
    _every_seed(axes, table, "accuracy", "variant", table["variant"].unique())
    axes.set(xlabel="test accuracy of 597 digits")
    return figure, table
