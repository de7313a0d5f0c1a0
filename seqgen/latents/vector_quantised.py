"""Vector quantisation: codes of the codebook entries nearest to an encoder's outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.flows.one_hot import one_hot
from seqgen.latents.codebook import Codebook, Learning
from seqgen.latents.contract import Draw, Posterior, Setting, equal_shares


class _Found(NamedTuple):
    """What one codebook was given ``[B, N, C]``, the numbers ``[B, N]`` of its entries, and these ``[B, N, C]``."""

    book: Codebook
    given: Tensor
    symbols: Tensor
    vectors: Tensor


class VectorQuantised(Posterior):
    """Vector quantisation: at each of n positions the entry of a codebook that is nearest to the encoder's output,

        k = argmin_j |z - e_j|,    frame = e_k + z - sg[z]

    so that the decoder reads the entry, and its gradient by it is taken for that by z (straight through). Nothing is
    drawn: q(k | x) = 1, and against a uniform prior the rate is n ln K, whatever x. A row's penalty in training is the
    mean over its positions of

        |sg[z] - e_k|² + β |z - sg[e_k]|²

    the reconstruction being the sum of a row's nats. With codebooks of averages the first term is left out.

    ``groups`` G make a position G symbols. Codebooks are of D / G channels each, side by side (product), or
    ``residual``, of D channels, each for what those before leave over; distances are added up.

    Shapes: params (z) ``[B, N, D]``, codes (one-hots of the symbols) ``[S, B, N, G·K]``, frames ``[S, B, N, D]``.

    Raises:
        SeqgenError: for sizes that make no codebook.

    Source: van den Oord, Vinyals and Kavukcuoglu, "Neural discrete representation learning", arXiv 1711.00937,
    equations 1-3 and appendix A.1; residual codebooks: Juang and Gray, "Multiple stage vector quantization for speech
    coding", ICASSP 1982.

    Example:
        >>> VectorQuantised(VectorQuantised.Config(dim=64, classes=512)).channels
        64
    """

    discrete = True
    num_uniforms = 0

    @dataclass(frozen=True)
    class Config:
        """Options of vector quantisation.

        Attributes:
            dim: D, channels of a frame. classes: K, entries of a codebook. groups: G. residual: see above.
            commitment: β. learning: of the entries, by the gradient of the penalty or as moving averages; decay: of
                these averages, γ (and of what is known of each entry's use). revival: an entry moves beside another
                where its worth is less than this share of what that would gain (0: none does;
                :class:`~seqgen.latents.codebook.Codebook`).
        """

        dim: int = 64
        classes: int = 512
        groups: int = 1
        residual: bool = False
        commitment: float = 0.25
        learning: Learning = "gradient"
        decay: float = 0.99
        revival: float = 0.5

    @classmethod
    def examples(cls) -> Iterable[VectorQuantised]:
        fresh = cls(cls.Config(dim=2, classes=4))
        product = cls(cls.Config(dim=4, classes=3, groups=2, learning="averages", revival=0.0))
        residual = cls(cls.Config(dim=2, classes=3, groups=2, residual=True, decay=0.5))
        z = torch.randn(8, 3, 4, generator=torch.Generator().manual_seed(0))
        for begun in (product, residual):
            for _ in range(begun.groups):
                begun.after_update(begun.sums(z[..., : begun.channels], torch.ones(8, 3, dtype=torch.bool)))
        return [fresh, product, residual]

    def __init__(self, config: Config) -> None:
        channels, rest = divmod(config.dim, 1 if config.residual else max(config.groups, 1))
        if min(config.dim, config.groups) < 1 or rest or config.classes < 2 or config.commitment < 0:
            raise SeqgenError(
                f"a vector quantisation of {config}",
                remedy="give 2 entries or more, 1 group or more, channels that these share evenly, and a commitment "
                "from 0",
            )
        if not (0 <= config.decay < 1 and 0 <= config.revival < 1):
            raise SeqgenError(
                f"averages with a decay of {config.decay}, a revival of {config.revival}",
                remedy="give both from 0, below 1",
            )
        super().__init__()
        self.config = config
        self.groups, self.classes, self.num_params = config.groups, config.classes, config.dim
        self.dim = config.groups * config.classes
        self.books = nn.ModuleList(
            Codebook(config.classes, channels, learning=config.learning, decay=config.decay, revival=config.revival)
            for _ in range(config.groups)
        )

    @property
    def channels(self) -> int:
        return self.config.dim

    def frames(self, z: Tensor) -> Tensor:
        hot = z.unflatten(-1, (self.groups, self.classes)).unbind(-2)  # G times [..., N, K]
        vectors = [book.vectors(one) for book, one in zip(self._books(), hot, strict=True)]
        return torch.stack(vectors).sum(dim=0) if self.config.residual else torch.cat(vectors, dim=-1)

    def draw(self, params: Tensor, u: Tensor, setting: Setting, *, exact: bool = False) -> Draw:
        z = self.code(params, setting).expand(len(u), -1, -1, -1)  # [S, B, N, G·K]
        given = _full(params)
        frames = self.frames(z).detach() + (given - given.detach())  # exactly the entries in value
        return Draw(z, equal_shares(z), frames)

    def log_prob(self, params: Tensor, z: Tensor) -> Tensor:
        right = (z * self._code(params)).sum(dim=-1) == self.groups
        return torch.where(right, 0.0, -torch.inf).to(z.dtype)

    def entropy(self, params: Tensor) -> Tensor:
        return _full(params).new_zeros(params.shape[:2])

    def kl(self, params: Tensor, setting: Setting) -> Tensor:
        """``-ln p(z_n)``, as q is certain of its code."""
        return -setting.prior.log_prob(self._code(params)[None], setting.given)[0]

    def code(self, params: Tensor, setting: Setting) -> Tensor:
        return self._code(params)

    def usage(self, params: Tensor, setting: Setting) -> Tensor:
        hot = self._code(params).unflatten(-1, (self.groups, self.classes))
        return (hot * setting.inside[..., None, None]).sum(dim=1)

    def terms(self, params: Tensor, setting: Setting) -> dict[str, Tensor]:
        """The perplexity of the averaged use of entries, the mean distance ``|z - e_k|²`` of a position, and how far
        positions lie from where they lay on the average of late: where that falls with the distance, all outputs
        become the same, and codes tell nothing."""
        logarithms = torch.stack([book.perplexity.log() for book in self._books()])
        z, means = _full(params), [book.mean for book in self._books()]
        center = means[0] if self.config.residual else torch.cat(means)  # the first residual codebook is given z
        apart = {"quantisation_error": z - self.frames(self._code(params)), "spread": z - center.to(z.dtype)}
        distances = {name: _mean(one.square().sum(dim=-1), setting.inside).mean() for name, one in apart.items()}
        return {"perplexity": logarithms.mean().exp(), **distances}

    def penalty(self, params: Tensor, setting: Setting) -> Tensor:
        total = params.new_zeros(params.shape[:2])
        for _, given, _, vectors in self._found(params):
            total = total + self.config.commitment * (given - vectors.detach()).square().sum(dim=-1)
            if self.config.learning == "gradient":
                total = total + (given.detach() - vectors).square().sum(dim=-1)
        return _mean(total, setting.inside)

    def noted(self, params: Tensor, setting: Setting) -> dict[str, Tensor]:
        return self.sums(params, setting.inside)

    def sums(self, params: Tensor, inside: Tensor) -> dict[str, Tensor]:
        """Sums over the positions inside their rows, ``[B, N, D]`` and ``[B, N]``, that :meth:`after_update` takes."""
        found = {}
        for number, (book, given, symbols, _) in enumerate(self._found(params)):
            one = book.noted(given[inside], symbols[inside])
            found |= {f"{number}/{name}": value for name, value in one.items()}
        return found

    def after_update(self, noted: Mapping[str, Tensor]) -> None:
        begun = [bool(book.started) for book in self._books()]
        for number, book in enumerate(self._books()):
            if self.config.residual and number and not begun[number - 1]:
                break  # what is left over by a codebook that has not begun is no place to begin at
            prefix = f"{number}/"
            book.after_update({name.removeprefix(prefix): v for name, v in noted.items() if name.startswith(prefix)})

    def _code(self, params: Tensor) -> Tensor:
        symbols = torch.stack([one.symbols for one in self._found(params)], dim=-1)  # [B, N, G]
        return one_hot(symbols, self.classes, _full(params).dtype).flatten(-2)

    def _found(self, params: Tensor) -> Iterator[_Found]:
        """Entries of each codebook in turn."""
        z = _full(params)
        parts, rest = z.chunk(self.groups, dim=-1), z
        for number, book in enumerate(self._books()):
            given = rest if self.config.residual else parts[number]  # [B, N, C]
            symbols = book.nearest(given.detach())
            vectors = book.entries.to(given.dtype)[symbols]
            rest = rest - vectors.detach() if self.config.residual else rest
            yield _Found(book, given, symbols, vectors)

    def _books(self) -> list[Codebook]:
        return list(self.books)  # type: ignore[arg-type]


def _full(params: Tensor) -> Tensor:
    """Outputs in float32 at least: rounded distances make other entries the nearest."""
    return params.float() if params.dtype in (torch.bfloat16, torch.float16) else params


def _mean(values: Tensor, inside: Tensor) -> Tensor:
    """Means over the positions inside their rows, ``[B, N] → [B]``."""
    return (values * inside).sum(dim=1) / inside.sum(dim=1).clamp_min(1)
