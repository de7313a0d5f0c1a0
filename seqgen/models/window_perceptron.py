"""Window perceptron: a causal network without memory over the last n symbols, as neural n-gram models have it.

    h_t = max(0, b + Σ_{k<n} W_k x_{t-k}),    then perceptron layers at every position

Source: Bengio et al., "A neural probabilistic language model", JMLR 3, 2003, section 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.nets.layers import Activation, CausalConv1d, Dense, Embedding
from seqgen.spec import StreamSpec
from seqgen.stream.combinators import Serial
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable


class WindowPerceptron(Streamable[Any]):
    """The body of a language model over a window: a symbol is told by those of the window, and by where the sequence
    began.

    Shapes: int64 ``[B, T]`` (the symbol before each position), or one-hots of them ``[B, T, K]``, → ``[B, T,
    outputs]``; the state is the window's embedded symbols, ``[B, window - 1, embedding]``, zeros before the start.

    Raises:
        SeqgenError: for sizes that make no network.

    Example:
        >>> WindowPerceptron(WindowPerceptron.Config(vocab_size=5, outputs=5, window=3)).spec.context
        3
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the body.

        Attributes:
            vocab_size: size of the alphabet. outputs: numbers for each position. window: n, symbols that are seen.
            embedding: channels of a symbol. hidden: width of the hidden layers. layers: how many there are.
        """

        vocab_size: int
        outputs: int
        window: int
        embedding: int = 16
        hidden: int = 128
        layers: int = 2

    @classmethod
    def examples(cls) -> Iterable[WindowPerceptron]:
        sizes = {"vocab_size": 4, "outputs": 4, "embedding": 3, "hidden": 5}
        return [cls(cls.Config(window=window, layers=layers, **sizes)) for window, layers in ((3, 1), (1, 2))]

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(vars(config).values()) < 1:
            raise SeqgenError(f"a window perceptron of {config}", remedy="give 1 or more of everything")
        made: list[Streamable[Any]] = [CausalConv1d(config.embedding, config.hidden, kernel=config.window)]
        for _ in range(config.layers - 1):
            made += [Activation("relu", dim=config.hidden), Dense(config.hidden, config.hidden)]
        made += [Activation("relu", dim=config.hidden), Dense(config.hidden, config.outputs)]
        self.body = Serial(Embedding(config.vocab_size, config.embedding), *made)
        self.spec: StreamSpec = self.body.spec

    def init_state(self, batch: int, memory: Any = None) -> Any:
        return self.body.init_state(batch, memory)

    def step(self, x: Tensor, state: Any, cond: Conditioning | None = None) -> tuple[Tensor, Any]:
        return self.body.step(x, state, cond)
