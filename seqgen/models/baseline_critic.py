"""A critic beside a learnt baseline, a function of y alone that takes the place of the partition function.

    f(x, y) = g(x, y) - ln a(y)

Source: Poole et al., "On variational bounds of mutual information", arXiv 1905.06922, section 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from seqgen import config as configs
from seqgen import registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.models.conditional_density import ConditionalDensity
from seqgen.models.critic import Critic, perceptron


class BaselineCritic(Critic):
    """A registered critic less a perceptron of y, for bounds that do not normalise by themselves.

    With the bound ``tuba`` it is TUBA with the baseline a(y), with ``nwj`` the same with e·a(y), with ``interpolated``
    the interpolated bound whose fixed part is a(y). Over a density ``ln p(y | x)``, known or learnt, it is a structured
    critic: the baseline has to learn the marginal ln p(y) alone.

    Raises:
        SeqgenError: for a critic that is none, and for sizes that make no network.
    """

    @dataclass(frozen=True)
    class Config:
        """Options.

        Attributes:
            critic: g, a registered critic and its options.
            hidden: width of each hidden layer of the baseline. layers: its hidden layers.
        """

        critic: Component
        hidden: int = 256
        layers: int = 2

    @classmethod
    def examples(cls) -> Iterable[BaselineCritic]:
        kinds = {name: registry.MODELS.load(name) for name in registry.MODELS}
        critics = [name for name, kind in kinds.items() if issubclass(kind, Critic) and kind is not cls]
        one_of_each = {issubclass(kinds[name], ConditionalDensity): name for name in critics}
        inner = [Component(name, {"x_dim": 2, "y_dim": 2}) for name in one_of_each.values()]
        return [cls(cls.Config(critic, hidden=6, layers=1)) for critic in inner]

    def __init__(self, config: Config) -> None:
        critic = configs.construct(config.critic, registry.MODELS, source="baseline-critic")
        if not isinstance(critic, Critic):
            raise SeqgenError(
                f"baseline-critic: '{config.critic.name}' is no critic", remedy="name a critic under `critic:`"
            )
        super().__init__(critic.x_dim, critic.y_dim)
        self.critic = critic
        self.log_baseline = perceptron(critic.y_dim, 1, hidden=config.hidden, layers=config.layers)

    def scores(self, x: Tensor, y: Tensor) -> Tensor:
        scores: Tensor = self.critic(x, y)  # [I, J]
        log_baseline: Tensor = self.log_baseline(y)  # [I, 1]
        return scores - log_baseline
