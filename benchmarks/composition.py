"""DCMHA beside two plain ways to write it and beside attention without composition: time and peak memory.

Run with `python benchmarks/composition.py`, on one thread; with `--gpu` in bfloat16 on a CUDA device.

Measured in one run on a 2-core x86 machine; processor seconds, and MB above layer and input.

                         B 4, T 512, D 512, H 8              B 1, T 2048, D 1024, H 16
                         forward       and backward          forward       and backward
    DCMHA                0.18   34     0.63   124            0.94    54     3.51   177
    DCMHA, dense C       0.69  402     1.89   974            C alone takes 4 GB, twice
    DCMHA, einsum        0.72  256     1.54   442            5.63  1829    14.01  2224
    MHA                  0.12   28     0.34   101            0.50    54     1.91   174
    MHA, torch           0.08   21     0.26    42            0.33    43     1.08    87

What limits forward and backward: each chunk is computed again, which takes the time of a forward, and saves
the scores and weights of all heads. torch.compile brings the einsum's first forward to 0.27 s and 144 MB,
after a minute and more of compiling (one run).

On an H100 in bfloat16 (B 4, T 2048, D 1024, H 16; torch 2.11), milliseconds and MB; chunks were recomputed by
torch.utils.checkpoint then, so backward may differ now:

                         forward       and backward
    DCMHA, chunk 2^26    13.9   836     56.3   1530
    DCMHA, dense C      130.7 10304    370.1  27717
    DCMHA, einsum        24.1  3640     55.8   7523
    MHA                   4.1  3124     10.2   4150
    MHA, torch            0.2    80      1.4    163

There forward is 1.7 times as fast as the einsum and backward no faster, with a fifth of the memory: what
limits are passes over the scores of all heads, one small kernel after the other.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from marginalia.heads import VARIANTS, CompositionTerms, DCMHAttention, attention

SHAPES = [(4, 512, 512, 8), (1, 2048, 1024, 16)]  # B, T, D, H
GPU_SHAPE = (4, 2048, 1024, 16)
CHUNKS = [2**23, 2**25, 2**26, 2**28]  # tried on a GPU
ROUNDS = 3


def with_dense(A: Tensor, terms: CompositionTerms) -> Tensor:
    """A C with the H x H matrix of every pair in memory; for the composition without groups and base."""
    row = terms.w_q1.mT @ terms.w_q2 + torch.diag_embed(terms.w_qg)  # (B, T, H, H)
    column = terms.w_k1.mT @ terms.w_k2 + torch.diag_embed(terms.w_kg)  # (B, S, H, H)
    same = torch.eye(A.shape[1], device=A.device, dtype=A.dtype)
    C = same + row[:, :, None] + column[:, None]  # (B, T, S, H, H)
    return torch.einsum("bnij,bijnm->bmij", A, C)


def term_by_term(A: Tensor, terms: CompositionTerms) -> Tensor:
    """A C as the sum of its five terms, as the formula says it."""
    asks = torch.einsum("brij,birm->bmij", torch.einsum("bnij,birn->brij", A, terms.w_q1), terms.w_q2)
    attended = torch.einsum("brij,bjrm->bmij", torch.einsum("bnij,bjrn->brij", A, terms.w_k1), terms.w_k2)
    gated = torch.einsum("bnij,bin->bnij", A, terms.w_qg) + torch.einsum("bnij,bjn->bnij", A, terms.w_kg)
    return A + asks + attended + gated


def direct(mix: Callable[[Tensor, CompositionTerms], Tensor]) -> Callable[[DCMHAttention, Tensor], Tensor]:
    """Attention with the weights of a layer, all scores at once, left to autograd."""

    def forward(layer: DCMHAttention, x: Tensor) -> Tensor:
        q, k, v = layer.wqkv(x).unflatten(-1, (3, layer.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = mix(q * q.shape[-1] ** -0.5 @ k.mT, layer.pre.terms(x, x))
        hidden = torch.ones(x.shape[1], x.shape[1], device=x.device, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(hidden, -torch.inf).softmax(-1, dtype=torch.float32).to(x.dtype)
        return layer.wo((mix(weights, layer.post.terms(x, x)) @ v).transpose(1, 2).flatten(2))

    return forward


def fused(layer: DCMHAttention, x: Tensor) -> Tensor:
    """Plain attention by torch's own kernel."""
    q, k, v = layer.wqkv(x).unflatten(-1, (3, layer.heads, -1)).permute(2, 0, 3, 1, 4)
    return layer.wo(scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


WAYS = {  # name: variant, and forward of a layer
    "DCMHA": ("DCMHA", lambda layer, x: layer(x)),
    "DCMHA, dense C": ("DCMHA", direct(with_dense)),
    "DCMHA, einsum": ("DCMHA", direct(term_by_term)),
    "MHA": ("MHA", lambda layer, x: layer(x)),
    "MHA, torch": ("MHA", fused),
}


def prepared(
    name: str, shape: tuple[int, int, int, int], **place
) -> tuple[Callable[[], Tensor], Callable[[], None]]:
    """One way at one shape: its forward without gradients, and its forward and backward."""
    torch.manual_seed(0)
    (B, T, D, H), (variant, forward) = shape, WAYS[name]
    layer = DCMHAttention(D, H, VARIANTS[variant], causal=True).to(**place)
    x = torch.randn(B, T, D).to(**place).requires_grad_()

    def both() -> None:
        layer.zero_grad()
        x.grad = None
        forward(layer, x).sum().backward()

    def alone() -> Tensor:
        with torch.no_grad():
            return forward(layer, x)

    return alone, both


def agree(**place) -> None:
    """All ways of one variant give the same on the device that is measured."""
    for names in (list(WAYS)[:3], list(WAYS)[3:]):
        expected, *others = (prepared(name, (2, 50, 64, 4), **place)[0]() for name in names)
        assert all((other - expected).abs().max() < 1e-4 * expected.abs().max() for other in others)


# ---- processor


def memory(key: str) -> float:
    """MB of this process: VmRSS now, or VmHWM, the most since `reset`."""
    return int(re.search(rf"{key}:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def measure_one(name: str, shape: tuple[int, int, int, int], which: int) -> None:
    """Print [seconds, MB] of a forward (0) or a forward and backward (1) in this fresh process.

    Memory is the highest resident size of the first run above that before it, with layer, input and what
    torch loads at its first use in place; time the median of the processor seconds of later runs.
    """
    for once in prepared(name, (1, 16, 32, 4)):
        once()
    run = prepared(name, shape)[which]
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = memory("VmRSS")
    run()
    peak, times = memory("VmHWM") - before, []
    for _ in range(ROUNDS):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    print(json.dumps([statistics.median(times), peak]))


def on_processor() -> None:
    agree()
    for at, (B, T, D, H) in enumerate(SHAPES):
        print(f"\nB {B}, T {T}, D {D}, H {H}      forward: s     MB   and backward: s     MB", flush=True)
        for name in WAYS:
            if name == "DCMHA, dense C" and B * T * T * H * H > 2**28:
                print(f"{name:<31} C alone takes {B * T * T * H * H * 4 / 2**30:.0f} GB, twice")
                continue
            cells = []
            for which in (0, 1):
                command = [sys.executable, __file__, "--one", name, str(at), str(which)]
                done = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                cells += json.loads(done)
            print("{:<31}{:10.3f}{:7.0f}{:16.3f}{:7.0f}".format(name, *cells), flush=True)


# ---- GPU


def on_gpu() -> None:
    """bfloat16 at GPU_SHAPE; memory is torch's count of allocated bytes, weights and input not included."""
    agree(device="cuda")
    print(
        torch.cuda.get_device_name(),
        "torch",
        torch.__version__,
        "bfloat16, B {}, T {}, D {}, H {}".format(*GPU_SHAPE),
    )
    print(f"{'':<38}forward: ms     MB   and backward: ms     MB")
    rows = [(f"DCMHA, chunk 2^{chunk.bit_length() - 1}", "DCMHA", chunk, False) for chunk in CHUNKS]
    rows += [(name, name, attention.CHUNK["cuda"], False) for name in list(WAYS)[1:]]
    rows += [(f"{name}, compiled", name, CHUNKS[-1], True) for name in ("DCMHA", "DCMHA, einsum")]
    for label, name, chunk, compiled in rows:
        attention.CHUNK["cuda"] = chunk
        torch.compiler.reset()
        cells = []
        for which in (0, 1):
            try:
                run = prepared(name, GPU_SHAPE, device="cuda", dtype=torch.bfloat16)[which]
                cells.append("{:11.2f}{:7.0f}".format(*measured(torch.compile(run) if compiled else run)))
            except torch.OutOfMemoryError:
                cells.append(f"{'out of memory':>18}")
            run = None
            torch.cuda.empty_cache()
        print(f"{label:<38}{cells[0]}     {cells[1]}", flush=True)


def measured(run: Callable[[], object]) -> tuple[float, float]:
    """Median milliseconds of ROUNDS calls after two others, and the most MB allocated above those before."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before, times = torch.cuda.memory_allocated(), []
    for _ in range(2 + ROUNDS):
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        events[0].record()
        run()
        events[1].record()
        torch.cuda.synchronize()
        times.append(events[0].elapsed_time(events[1]))
    return statistics.median(times[2:]), (torch.cuda.max_memory_allocated() - before) / 2**20


if __name__ == "__main__":
    if "--one" in sys.argv:
        measure_one(sys.argv[2], SHAPES[int(sys.argv[3])], int(sys.argv[4]))
    elif "--gpu" in sys.argv:
        on_gpu()
    else:
        on_processor()
