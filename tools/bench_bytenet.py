#!/usr/bin/env python3
"""Time of convolutional sequence models: how it grows with length beside attention's, and what training is made of.

    python tools/bench_bytenet.py slope [--channels D] [--cycles N] [--rows ROWS] [--lengths 128 256 ...]
    python tools/bench_bytenet.py train [--block relu|multiplicative] [--channels D] [--cycles N] [--precision P]

``slope``: forward passes of encoder and decoder over ROWS rows of |S| = |T| positions, N cycles of five blocks each,
beside a decoder of full attention of the same width (2D channels, as many layers) over one row of |T|. The exponent is
the slope of a straight line through the logarithms of times and lengths: 1 for linear time, 2 for quadratic time. Time
is the processor's for one row, the least of some repeats, on one thread.

``train``: seconds of an update on 16 x 256 symbols, and the share of it that goes into products (convolutions are
products); the rest is normalization, gates, copies and the optimiser. The share is of a profiled step.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from seqgen import registry
from seqgen.distributions.categorical import Categorical
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.models.bytenet import ByteNet
from seqgen.train import memory

VOCAB = 64
PRODUCTS = ("convolution", "addmm", "::mm", "bmm")
Figures = dict[str, float | str]


def least(function: Callable[[], object], repeats: int) -> float:
    """The least processor time of some repeats after one that does not count, in seconds."""
    function()
    taken = []
    for _ in range(repeats):
        began = time.thread_time()
        function()
        taken.append(time.thread_time() - began)
    return min(taken)


def exponent(lengths: Sequence[int], seconds: Sequence[float]) -> float:
    """Slope of log time over log length, by least squares."""
    return float(np.polyfit(np.log(lengths), np.log(seconds), 1)[0])


def made(name: str, **options: int) -> nn.Module:
    """A registered model with fresh weights."""
    kind = registry.MODELS.load(name)
    network: nn.Module = kind(kind.Config(**options))
    return network


@torch.no_grad()
def slope(given: argparse.Namespace) -> list[Figures]:
    """Time of forward passes by length, and how it grows; of the convolutions, then of attention."""
    wide, blocks = 2 * given.channels, 5 * given.cycles
    sizes = {"vocab_size": VOCAB, "channels": given.channels, "cycles": given.cycles}
    encoder = made(f"{registry.MODELS.name_of(ByteNet)}-encoder", **sizes)
    decoder = ByteNet(ByteNet.Config(**sizes, outputs=VOCAB, cond_dim=wide))
    rows: dict[str, list[float]] = {"convolutions": [], "attention": []}
    for length in given.lengths:
        x, lengths = torch.randint(VOCAB, (given.rows, length)), torch.full((given.rows,), length)
        window = {"channels": wide, "layers": blocks, "heads": 4, "window": length}
        attention = made("transformer", vocab_size=VOCAB, outputs=VOCAB, **window)
        seconds = least(lambda x=x, n=lengths: decoder(x, encoder(x, n)), given.repeats)
        rows["convolutions"].append(seconds / given.rows)
        rows["attention"].append(least(lambda net=attention, x=x[:1]: net(x), given.repeats))
    return [
        {"network": name, **{f"ms_{n}": round(1e3 * s, 2) for n, s in zip(given.lengths, seconds, strict=True)},
         "slope": round(exponent(given.lengths, seconds), 3),
         "slope_of_the_longer_half": round(exponent(*(each[len(each) // 2 :] for each in (given.lengths, seconds))), 3)}
        for name, seconds in rows.items()
    ]  # fmt: skip


def train(given: argparse.Namespace) -> list[Figures]:
    """One update's time, and the share of products in it."""
    memory.keep_freed_pages()
    rows, length = 16, 256
    sizes = {"vocab_size": VOCAB, "outputs": VOCAB, "channels": given.channels, "cycles": given.cycles}
    body = ByteNet(ByteNet.Config(**sizes, block=given.block, dropout=given.dropout))
    density = AutoRegressive(body, Categorical(Categorical.Config(VOCAB)), None, start=0, symbols_per_sample=1)
    optimiser = torch.optim.AdamW(density.parameters())
    x = torch.randint(VOCAB, (rows, length))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=given.precision == "bf16-mixed"):
            loss = -density.log_prob(x).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    seconds = least(step, given.repeats)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    events = seen.key_averages()
    inside = sum(one.self_cpu_time_total for one in events if any(name in one.key for name in PRODUCTS))
    parameters = sum(one.numel() for one in density.parameters())
    return [
        {
            "block": given.block,
            "parameters": parameters,
            "precision": given.precision,
            "step_seconds": round(seconds, 4),
            "symbols_per_second": round(rows * length / seconds),
            "gflops": round(6 * parameters * rows * length / seconds / 1e9),
            "share_of_products": round(inside / sum(one.self_cpu_time_total for one in events), 3),
        }
    ]


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("slope", slope), ("train", train)):
        command = commands.add_parser(name)
        command.add_argument("--channels", type=int, default=32 if name == "slope" else 128)
        command.add_argument("--cycles", type=int, default=2 if name == "slope" else 3)
        command.add_argument("--repeats", type=int, default=3)
        command.add_argument("--json", action="store_true")
        command.set_defaults(run=run)
        if name == "slope":
            command.add_argument("--rows", type=int, default=8)
            command.add_argument("--lengths", type=int, nargs="+", default=[128, 256, 512, 1024, 2048, 4096])
        else:
            command.add_argument("--block", choices=["relu", "multiplicative"], default="multiplicative")
            command.add_argument("--precision", choices=["32-true", "bf16-mixed"], default="32-true")
            command.add_argument("--dropout", type=float, default=0.0)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for row in given.run(given):
        lines = (f"{key:<26} {value}" for key, value in row.items())
        sys.stdout.write((json.dumps(row) if given.json else "\n".join(lines)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
