"""Members of every registry that are broken on purpose, each in one place."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqgen.distributions.categorical import Categorical
from seqgen.distributions.gaussian import Gaussian
from seqgen.estimators.infonce import InfoNCE
from seqgen.flows.affine import AffineAutoregressive
from seqgen.flows.sinkhorn import Sinkhorn
from seqgen.generation.autoregressive import AutoRegressive, language_model
from seqgen.generation.contract import DensityExample, GeneratorState
from seqgen.generation.factorised import Factorised
from seqgen.latents.variable import LatentVariable
from seqgen.models.critic import Critic
from seqgen.models.discriminator import SequenceDiscriminator
from seqgen.models.encoder import Encoder
from seqgen.models.matrix_completion import MatrixCompletion
from seqgen.models.observed_matrix import ObservedMatrix
from seqgen.nets.layers import CausalConv1d
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Objective, ObjectiveExample, Rows
from seqgen.optim.contract import Optimiser
from seqgen.optim.torch_optimisers import SGD
from seqgen.runtime.extractor import Extractor, Floats
from seqgen.spec import Facts, StreamSpec
from seqgen.stream.combinators import Delay, Serial
from seqgen.stream.contract import Streamable
from seqgen.tasks.contract import Evaluation, Split, System
from seqgen.tasks.features.task import FeatureFrames
from seqgen.tasks.processes.finite_targets import Dirichlet
from seqgen.tasks.table import Table
from seqgen.tasks.text.batches import Batch, Stretches
from seqgen.tasks.text.sentences import Sentences
from seqgen.tasks.text.task import Text
from seqgen.text.bytes import Bytes
from seqgen.text.characters import Characters
from seqgen.text.tokenizer import Encoded


class Foreseeing(Streamable[Tensor]):
    """A model whose output at t is the input at t + 1, where a block has one."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = StreamSpec(in_dim=2, out_dim=2)

    @classmethod
    def examples(cls) -> Iterable[Foreseeing]:
        return [cls()]

    def init_state(self, batch: int, memory: Any = None) -> Tensor:
        return self.zeros(batch, 1, 2)

    def step(self, x: Tensor, state: Tensor, cond: Any = None) -> tuple[Tensor, Tensor]:
        return torch.cat([x[:, 1:], x[:, -1:]], dim=1), x[:, -1:]


class Padded(Encoder):
    """An encoder that gives columns of padding."""

    @classmethod
    def examples(cls) -> Iterable[Padded]:
        return [cls(vocab_size=5, out_dim=1)]

    def columns(self, symbols: Tensor, lengths: Tensor) -> Tensor:
        return symbols[..., None] + 1.0


class Transposed(Critic):
    """A critic with a row for each x."""

    @classmethod
    def examples(cls) -> Iterable[Transposed]:
        return [cls(3, 2)]

    def scores(self, x: Tensor, y: Tensor) -> Tensor:
        return x.sum(dim=1)[:, None] * y.sum(dim=1)


class Endless(SequenceDiscriminator):
    """A discriminator that judges padding too."""

    def __init__(self) -> None:
        super().__init__(in_dim=2)
        self.layer = nn.Linear(2, 1)

    @classmethod
    def examples(cls) -> Iterable[Endless]:
        return [cls()]

    def logits(self, x: Tensor, lengths: Tensor) -> Tensor:
        made: Tensor = self.layer(x.mean(dim=1))
        return made[:, 0]


class Peeping(MatrixCompletion):
    """A network that predicts what is observed, the entry to predict included."""

    @classmethod
    def examples(cls) -> Iterable[Peeping]:
        return [cls()]

    def predictions(self, user: Tensor, item: Tensor, observed: ObservedMatrix, key: Key) -> Tensor:
        owner, entry = observed.by_user.gathered(user)
        sums = torch.zeros(len(user)).index_add(0, owner, observed.by_user.values[entry])
        return sums + item


class Swollen(AffineAutoregressive):
    """A flow that says twice the volume."""

    @classmethod
    def examples(cls) -> Iterable[Swollen]:
        return [cls(Serial(Delay(1, dim=1), CausalConv1d(1, 2, kernel=2)))]

    def forward_and_log_det(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[misc]
        x, shares = super().forward_and_log_det(z, cond)
        return x, 2 * shares

    def inverse_and_log_det(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[misc]
        z, shares = super().inverse_and_log_det(x, cond)
        return z, 2 * shares


class Astray(Swollen):
    """A flow whose way back leads elsewhere."""

    def inverse_and_log_det(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[misc]
        z, shares = super().inverse_and_log_det(x, cond)
        return 1.01 * z, shares


class Absorbing(Sinkhorn):
    """A flow of symbols that makes the second of them the first."""

    @classmethod
    def examples(cls) -> Iterable[Absorbing]:
        return [cls(cls.Config(vocab_size=3, length=2))]

    def permutations(self) -> Tensor:
        found = super().permutations()
        return torch.cat([found[:, :1], found[:, :1], found[:, 2:]], dim=1)


class Lopsided(Dirichlet):
    """Never draws the later blocks."""

    def draw(self, u: np.ndarray) -> np.ndarray:
        return super().draw(u / 2)


class Unnormalised(Categorical):
    """Logits as they come."""

    def log_prob(self, params: Tensor, value: Tensor) -> Tensor:
        return params.gather(-1, value[..., None])[..., 0]


class OffByOne(Categorical):
    """Draws the symbol beside."""

    def sample(self, params: Tensor, u: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
        return (super().sample(params, u, temperature) + 1) % self.vocab_size


class Feverish(Gaussian):
    """Knows no temperature."""

    def sample(self, params: Tensor, u: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
        return super().sample(params, u)


class Distant(Gaussian):
    """The divergence the wrong way round."""

    def kl(self, params: Tensor, other: Tensor) -> Tensor:
        return super().kl(other, params)


class Loud(Gaussian):
    """Moves the mean, not the width."""

    def scaled(self, params: Tensor, log_gain: Tensor) -> Tensor:
        return torch.cat([params[..., :1] * torch.exp(log_gain), params[..., 1:]], dim=-1)


class Broken(AutoRegressive):
    """A density that is broken in one place; what it is over is right."""

    @classmethod
    def examples(cls) -> Iterator[DensityExample]:
        whole = language_model(4)
        made = cls(whole.body, whole.distribution, None, start=0, symbols_per_sample=1)
        yield DensityExample(made, torch.tensor([[0, 1, 2, 3, 3, 0], [2, 2, 1, 0, 3, 1]]), None, torch.arange(4))


class Shortcut(Broken):
    """Scores otherwise where nobody asks for gradients."""

    def log_prob(self, x: Tensor, cond: Any = None) -> Tensor:
        return super().log_prob(x, cond) * (1 if torch.is_grad_enabled() else 1 + 1e-8)


class Overconfident(Broken):
    """Gives every symbol more than it has."""

    def log_prob(self, x: Tensor, cond: Any = None) -> Tensor:
        return super().log_prob(x, cond) + 0.01


class Hot(Broken):
    """Draws from another distribution than it scores."""

    def generate(
        self, u: Tensor, state: GeneratorState, features: Tensor | None, temperature: Tensor | float = 1.0
    ) -> tuple[Tensor, GeneratorState]:
        return super().generate(u, state, features, 0.5 * temperature)


class Skewed(Factorised):
    """A density of blocks that draws something else than it scores."""

    def sample(self, u: Tensor, cond: Any = None, temperature: Tensor | float = 1.0) -> Tensor:
        return super().sample(u, cond, 0.5)


class Forgetful(Broken):
    """Loses its state between two calls."""

    def generate(
        self, u: Tensor, state: GeneratorState, features: Tensor | None, temperature: Tensor | float = 1.0
    ) -> tuple[Tensor, GeneratorState]:
        made, after = super().generate(u, state, features, temperature)
        return made, after._replace(body=self.body.init_state(len(u)))


class Drawn(Broken):
    """Draws what no uniform decides."""

    def generate(
        self, u: Tensor, state: GeneratorState, features: Tensor | None, temperature: Tensor | float = 1.0
    ) -> tuple[Tensor, GeneratorState]:
        return super().generate(torch.rand_like(u), state, features, temperature)


class Wasteful(Objective):
    """A method with a parameter that it does not use."""

    requires = MappingProxyType({"net": nn.Linear})
    net: nn.Linear

    @classmethod
    def examples(cls) -> Iterable[ObjectiveExample]:
        batch = Rows(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.ones(4))
        return [ObjectiveExample(cls(None, {"net": nn.Linear(3, 1)}, Facts()), batch)]

    def loss(self, batch: Rows, player: str, rng: Key, shared: Any) -> Loss:
        total = (batch.x @ self.net.weight.T).square().mean()
        return Loss(total, {}, total.new_tensor(len(batch.x)))


class Drifting(Wasteful):
    """A method whose loss depends on how often it was asked, which no checkpoint holds."""

    asked = 0

    def loss(self, batch: Rows, player: str, rng: Key, shared: Any) -> Loss:
        if self.training and torch.is_grad_enabled():
            self.asked += 1
        total = (self.net(batch.x) - 1e-3 * (self.asked > 3)).square().mean()
        return Loss(total, {}, total.new_tensor(len(batch.x)))


class Uphill(SGD):
    """Follows the gradient the wrong way."""

    def make(self, parameters: Any) -> torch.optim.Optimizer:
        made = super().make(parameters)
        for group in made.param_groups:
            group["maximize"] = True
        return made


class Private(Optimiser):
    """Keeps a number that is no tensor."""

    @dataclass(frozen=True)
    class Config:
        """No options."""

    class Counting(torch.optim.SGD):
        """Slower with each step."""

        def step(self, closure: Any = None) -> Any:
            for parameter in itertools.chain(*(group["params"] for group in self.param_groups)):
                count = self.state[parameter].get("count", 0)
                self.state[parameter]["count"] = count + 1
                parameter.grad *= 0.99**count
            return super().step(closure)

    def make(self, parameters: Any) -> torch.optim.Optimizer:
        return Private.Counting(list(parameters))


class Exaggerating(InfoNCE):
    """Half as much again."""

    def value(self, scores: Tensor) -> Tensor:
        return 1.5 * super().value(scores)


class Cut(Stretches):
    """The last stretch is left out."""

    def whole(self) -> Iterator[Batch]:
        *every, _ = super().whole()
        return iter(every)


class Wandering(Stretches):
    """Other places each time."""

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        shift = int(torch.randint(1000, ()))
        return super().batches(start + shift, stop + shift, rank, world)


class Greedy(Stretches):
    """Every process takes the same rows."""

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        return super().batches(start, stop, 0, world)


class Simplified(Bytes):
    """A tokenizer that takes line ends for one another."""

    def encode(self, data: bytes) -> Encoded:
        return super().encode(data.replace(b"\r\n", b"\n"))


class Hurried(Characters):
    """A tokenizer that takes a character's first bytes for all of it where a block ends there."""

    def settled(self, data: bytes) -> int:
        return len(data)


class Texts(Text):
    """The text task over another kind of source."""

    kind: type[Stretches] = Stretches

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> Stretches | Sentences:
        whole = super().source(split, networks)
        if not isinstance(whole, Stretches):
            return whole
        return self.kind(whole.encoded, segment=whole.segment, context=whole.context, rows=whole.rows, seed=whole.seed)


class CutTexts(Texts):
    """As its source."""

    kind = Cut


class WanderingTexts(Texts):
    """As its source."""

    kind = Wandering


class GreedyTexts(Texts):
    """As its source."""

    kind = Greedy


class Growing(Text):
    """Another number of examples at every look."""

    looks = itertools.count()

    def read_facts(self) -> Facts:
        return replace(super().read_facts(), examples=next(self.looks))


class Hasty(Text):
    """Evaluates a part of what it says that it does."""

    def evaluate(self, system: System, options: Evaluation) -> Table:
        return super().evaluate(system, replace(options, limit=2))


class Moody(Text):
    """Judges otherwise the second time."""

    def evaluate(self, system: System, options: Evaluation) -> Table:
        table = super().evaluate(system, options)
        figures = {name: figure._replace(value=float(np.random.default_rng().random())) for name, figure in
                   table.figures.items()}  # fmt: skip
        return replace(table, figures=figures)


class Varying(FeatureFrames):
    """Features that are drawn."""

    def extractor(self, network: nn.Module, layer: str = "") -> Extractor:
        return _Changed(super().extractor(network, layer), drawn=True)


class Longer(FeatureFrames):
    """A vector for what is left behind the last hop."""

    def extractor(self, network: nn.Module, layer: str = "") -> Extractor:
        return _Changed(super().extractor(network, layer), longer=True)


class Obliging(FeatureFrames):
    """Takes any network for one that makes features."""

    def extractor(self, network: nn.Module, layer: str = "") -> Extractor:
        return super().extractor(network, layer) if isinstance(network, LatentVariable) else _Changed(None)


class _Changed(Extractor):
    """Features that are others than those of the extractor that is given."""

    def __init__(self, given: Extractor | None, *, drawn: bool = False, longer: bool = False) -> None:
        self.given, self.drawn, self.longer = given, drawn, longer
        self.sample_rate, self.hop = (given.sample_rate, given.hop) if given is not None else (8000, 80)

    def features(self, audio: Floats) -> Floats:
        assert self.given is not None
        made = self.given.features(audio)
        if self.longer:
            made = np.concatenate([made, made[-1:]])
        return made + np.random.default_rng().random(made.shape, np.float32) if self.drawn else made
