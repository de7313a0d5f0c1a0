"""Small latent-variable models over every registered family of posteriors: what the laws of methods are run over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from seqgen import registry
from seqgen.distributions.categorical import Categorical
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.contract import Density
from seqgen.generation.examples import SmallBody, SmallEncoder
from seqgen.latents.contract import Posterior, Prior
from seqgen.models.encoder import Encoder
from seqgen.models.repeated_frames import RepeatedFrames

ELEMENTS, SYMBOLS = 6, 3
"""Elements of a row that the small models are shown, and their alphabet."""
EXAMPLES = 7
"""Rows of the training set that their priors are told of."""
_DOWN = 3
M = TypeVar("M")
Making = Callable[[Encoder, Posterior, Prior, Density], M]


def models(make: Making[M]) -> Iterator[M]:
    """A small model for each registered family of posteriors."""
    for name in registry.POSTERIORS:
        for posterior in registry.POSTERIORS.load(name).examples():
            yield small(make, posterior)


def small(make: Making[M], posterior: Posterior, prior: Prior | None = None) -> M:
    """A small model over symbols: as many positions of its code as the prior says, or one for three symbols; by default
    with the first registered prior that knows its codes, and a recurrent decoder."""
    prior = next(fitting(posterior)) if prior is None else prior
    down = ELEMENTS // prior.positions if prior.positions else _DOWN
    encoder = SmallEncoder(vocab_size=SYMBOLS, out_dim=4, down=down)
    body = SmallBody(vocab_size=SYMBOLS, cond_dim=posterior.channels)
    frames = RepeatedFrames(down, dim=posterior.channels)
    decoder = AutoRegressive(body, Categorical(Categorical.Config(SYMBOLS)), frames, start=0, symbols_per_sample=1)
    return make(encoder, posterior, prior, decoder)


def readers(make: Making[M], *, vocab_size: int, down: int) -> dict[str, M]:
    """A small model for each registered family of posteriors, with an encoder of so many symbols (0: of real numbers),
    ``down`` of them to a position: what features are made by. Their decoders are of :data:`SYMBOLS`."""

    def with_reader(encoder: Encoder, posterior: Posterior, prior: Prior, decoder: Density) -> M:
        reader = SmallEncoder(vocab_size=vocab_size, out_dim=encoder.out_dim, down=down)
        return make(reader, posterior, prior, decoder)

    families = {name: next(iter(registry.POSTERIORS.load(name).examples())) for name in registry.POSTERIORS}
    return {name: small(with_reader, posterior) for name, posterior in families.items()}


def fitting(posterior: Posterior) -> Iterator[Prior]:
    """Small instances of registered priors over the codes of a posterior."""
    for name in registry.PRIORS:
        kind = registry.PRIORS.load(name)
        for options in kind.options_for(posterior) if kind.conjugate == posterior.conjugate else ():
            yield kind.build(options, dim=posterior.dim, examples=EXAMPLES)
