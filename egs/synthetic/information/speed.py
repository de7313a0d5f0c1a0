"""Time of a bound of mutual information over many pairs, beside a plain loop over contrasts and torch-mist.

    python -m egs.synthetic.information.speed [--pairs 100000] [--dimensions 64] [--batches 128 1024] [--critics NAME …]

InfoNCE over all pairs, once to evaluate and once to train (gradients and Adam), with the same weights for all: a critic
of two hidden layers of 256. The loop scores the pairs of a batch with x shifted by 0, 1, 2, … places, a call for each;
torch-mist is measured where it is installed. Values have to agree. Time is the processor's on one thread, the least of
some repeats that take turns.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seqgen import registry
from seqgen.estimators.infonce import InfoNCE
from seqgen.models.critic import Critic

BOUND = InfoNCE(InfoNCE.Config())
Bound = Callable[[Critic, Tensor, Tensor], Tensor]


def ours(critic: Critic, x: Tensor, y: Tensor) -> Tensor:
    """The bound of a batch from the critic's own matrix of scores."""
    return BOUND.value(critic(x, y))


def loop(critic: Critic, x: Tensor, y: Tensor) -> Tensor:
    """The bound of a batch, its scores one shift after another."""
    scores = torch.stack([critic.paired(x.roll(-shift, 0), y) for shift in range(len(x))])  # [K, K], first the pairs
    return (scores[0] - scores.logsumexp(dim=0)).mean() + torch.log(torch.tensor(float(len(x))))


def of_torch_mist(critic: Any) -> Callable[[Critic, Tensor, Tensor], Tensor]:
    """The bound of a batch by torch-mist, with the critic's networks; y is contrasted with every x, as in ours."""
    from torch_mist.critic import JointCritic, SeparableCritic
    from torch_mist.estimators import InfoNCE as Mist

    if hasattr(critic, "g"):
        made = SeparableCritic(f_x=critic.h, f_y=critic.g)
    else:
        made = JointCritic(_Exchanged(critic.f, critic.y_dim))
    estimator = Mist(made)

    def bound(_: Critic, x: Tensor, y: Tensor) -> Tensor:
        value: Tensor = -estimator.batch_loss(y, x).mean()
        return value

    return bound


class _Exchanged(nn.Module):
    """A perceptron over ``[x, y]`` that is given ``[y, x]``."""

    def __init__(self, f: nn.Module, first: int) -> None:
        super().__init__()
        self.f, self.first = f, first

    def forward(self, both: Tensor) -> Tensor:
        made: Tensor = self.f(torch.cat([both[..., self.first :], both[..., : self.first]], dim=-1))
        return made


def batches(x: Tensor, y: Tensor, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Whole batches of the pairs."""
    for start in range(0, len(x) - rows + 1, rows):
        yield x[start : start + rows], y[start : start + rows]


@torch.no_grad()
def evaluated(bound: Bound, critic: Critic, x: Tensor, y: Tensor, rows: int) -> float:
    """Mean of the bound over all batches, in nats."""
    return float(torch.stack([bound(critic, *pair) for pair in batches(x, y, rows)]).mean())


def trained(bound: Bound, critic: Critic, x: Tensor, y: Tensor, rows: int) -> float:
    """The bound of the last batch after a pass of training, in nats."""
    optimiser, value = torch.optim.Adam(critic.parameters(), 5e-4), torch.zeros(())
    for pair in batches(x, y, rows):
        value = bound(critic, *pair)
        optimiser.zero_grad()
        (-value).backward()
        optimiser.step()
    return float(value.detach())


def measured(given: argparse.Namespace, kind: str, rows: int, run: Callable[..., float]) -> dict[str, Any]:
    """One row of the table: seconds of each way over all pairs, how much longer than ours they take, and the values."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(given.pairs, given.dimensions, generator=generator)
    y = 0.8 * x + 0.6 * torch.randn(given.pairs, given.dimensions, generator=generator)
    model = registry.MODELS.load(f"{kind}-critic")
    fresh = model(model.Config(x_dim=given.dimensions, y_dim=given.dimensions))
    seconds: dict[str, list[float]] = {}
    values: dict[str, float] = {}
    for _ in range(given.repeats):
        for name in given.ways:
            critic = copy.deepcopy(fresh)
            bound = {"seqgen": ours, "loop": loop}.get(name) or of_torch_mist(critic)
            began = time.process_time()
            values[name] = run(bound, critic, x, y, rows)
            seconds.setdefault(name, []).append(time.process_time() - began)
    least = {name: min(each) for name, each in seconds.items()}
    figures = {"critic": kind, "what": run.__name__, "pairs": given.pairs, "batch": rows}
    figures |= {f"{name} s": round(each, 3) for name, each in least.items()}
    figures |= {
        f"{name} / seqgen": round(each / least["seqgen"], 1) for name, each in least.items() if name != "seqgen"
    }
    apart = max(abs(value - values["seqgen"]) for value in values.values())
    return figures | {"values apart by at most": float(f"{apart:.1g}")}


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=64)
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--critics", nargs="+", default=["separable"], choices=["separable", "concatenated"])
    there = ["torch-mist"] if importlib.util.find_spec("torch_mist") else []
    parser.add_argument("--beside", nargs="*", default=["loop", *there], choices=["loop", *there])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    given.ways = ["seqgen", *given.beside]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for kind in given.critics:
        for rows in given.batches:
            for run in (evaluated, trained):
                row = measured(given, kind, rows, run)
                lines = "".join(f"{key:<26} {value}\n" for key, value in row.items())
                sys.stdout.write(json.dumps(row) + "\n" if given.json else lines + "\n")
                sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
