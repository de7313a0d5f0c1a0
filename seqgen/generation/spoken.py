"""Density of what is spoken: numbers of each phone (its prosody), or of each frame of a recording (log-mel bands).

    p(m | phones) = Π_n p(m_n | e_n)          p(y | phones, m) = Π_t p(y_t | h_t)

m_n = logarithm of the phone's duration, its pitch and its loudness; e = an encoder of all phones; h = a causal network,
with little look-ahead, of the column e_n of the phone that frame t lies in, of m_n, and of how far through the phone
the frame is. So every phone of the text has its frames: none can be left out or said twice.

Source: Ren et al., "FastSpeech", arXiv 1905.09263, section 3.2, for columns that are repeated by durations; Łańcucki,
"FastPitch", arXiv 2006.06873, section 2.1, for a pitch of each phone; mixtures over a phone's numbers and over whole
frames in the place of squared errors are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen import config, registry
from seqgen.config import Component
from seqgen.distributions.categorical import Categorical
from seqgen.distributions.contract import Distribution
from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density, DensityExample
from seqgen.generation.frame_numbers import FrameNumbers
from seqgen.models.encoder import Encoder
from seqgen.models.frames import FrameConditioner
from seqgen.spec import Facts, FrameSpec

_GIVEN = 4  # numbers that a frame is told: how far through its phone it is, and the prosody of that


@dataclass(frozen=True)
class Phones:
    """Phones of B recordings.

    Attributes:
        tokens: int64 ``[B, N]``. counts: ``[B]``, phones of each row. durations: int64 ``[B, N]``, frames of each
            phone, 0 behind the last one. manner: ``[B, N, 2]``, pitch and loudness of each phone.
    """

    tokens: Tensor
    counts: Tensor
    durations: Tensor
    manner: Tensor


class SpokenDensity(Density):
    """Density of the numbers of phones, or of frames where there is a ``body``.

    Shapes: x ``[B, N·D]``, or with a body ``[B, F·D]``, or with one more dimension of 1 → ``[B, …]``; D numbers of a
    phone or frame, F frames of all phones.

    Raises:
        SeqgenError: for an encoder of another alphabet than the data's, and for sizes that make no network.
    """

    @dataclass(frozen=True)
    class Config:
        """Options.

        Attributes:
            encoder: of phones. body: network from phones to frames (``None``: numbers are those of phones).
            width: numbers that the body gives for a frame.
            hidden, distribution, components: of the numbers of a phone or frame (:class:`FrameNumbers`).
        """

        encoder: Component
        body: FrameConditioner.Config | None = None
        width: int = 256
        hidden: tuple[int, ...] = ()
        distribution: Component = field(default_factory=lambda: Component("gaussian", {"limit": float("inf")}))
        components: int = 1

    @classmethod
    def examples(cls) -> Iterator[DensityExample]:
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randint(5, (3, 4), generator=generator)
        durations = torch.tensor([[1, 2, 1, 2], [3, 3, 0, 0], [2, 2, 2, 0]])
        cond = Phones(tokens, torch.tensor([4, 2, 3]), durations, torch.rand(3, 4, 2, generator=generator))
        kinds = [registry.MODELS.load(name) for name in registry.MODELS]
        encoders = [one for kind in kinds if issubclass(kind, Encoder) for one in kind.examples()]
        for encoder in encoders:
            if encoder.vocab_size != 5 or encoder.down != 1:
                continue
            given = Facts(frames=FrameSpec(channels=encoder.out_dim + _GIVEN, hop=1))
            options = FrameConditioner.Config(channels=5, blocks=1, look_ahead=1)
            body = FrameConditioner.build(options, given, out_dim=4)
            for part, width, steps in ((None, encoder.out_dim, 4), (body, 4, 6)):
                distribution = Categorical(Categorical.Config(classes=3))
                numbers = FrameNumbers(width, (), "relu", distribution, elements=2, components=2)
                x = torch.randint(3, (3, 2 * steps), generator=generator)
                yield DensityExample(cls(encoder, part, numbers), x, cond, torch.arange(3))

    @classmethod
    def build(cls, options: Config, facts: Facts, *, source: str = "config") -> SpokenDensity:
        """Construct encoder, body and density for the alphabet and the numbers of the data."""
        encoder: Encoder = config.construct(options.encoder, registry.MODELS, source=f"{source}: encoder")
        if encoder.vocab_size != len(facts.alphabet):
            raise SeqgenError(
                f"{source}: an encoder of {encoder.vocab_size} symbols, the data have {len(facts.alphabet)} phones",
                remedy=f"set the encoder's vocab_size to {len(facts.alphabet)}",
            )
        body, width = None, encoder.out_dim
        if options.body is not None:
            given = Facts(frames=FrameSpec(channels=encoder.out_dim + _GIVEN, hop=1))
            body, width = FrameConditioner.build(options.body, given, out_dim=options.width), options.width
        distribution: Distribution = config.construct(
            options.distribution, registry.DISTRIBUTIONS, source=f"{source}: distribution"
        )
        numbers = FrameNumbers(
            width, options.hidden, "relu", distribution, elements=facts.shape[0], components=options.components
        )
        return cls(encoder, body, numbers)

    def __init__(self, encoder: Encoder, body: FrameConditioner | None, numbers: FrameNumbers) -> None:
        super().__init__()
        self.encoder, self.body, self.numbers = encoder, body, numbers
        self.vocab_size = numbers.distribution.vocab_size

    @property
    def num_uniforms(self) -> int:
        return self.numbers.num_uniforms

    def log_prob(self, x: Tensor, cond: Phones | None = None) -> Tensor:
        return self.numbers.log_prob(x[..., 0] if x.dim() == 3 else x, self._vectors(cond))

    def sample(self, u: Tensor, cond: Phones | None = None, temperature: Tensor | float = 1.0) -> Tensor:
        return self.numbers.sample(u, self._vectors(cond), temperature)

    def _vectors(self, cond: Phones | None) -> Tensor:
        """A vector for each phone, or each frame of it."""
        if cond is None:
            raise SeqgenError("numbers of phones without phones", remedy="give their tokens and prosody")
        columns: Tensor = self.encoder(cond.tokens, cond.counts)  # [B, N, C]
        return columns if self.body is None else self._spread(self.body, columns, cond)

    def _spread(self, body: FrameConditioner, columns: Tensor, cond: Phones) -> Tensor:
        """Vectors of frames, ``[B, F, width]``."""
        durations = cond.durations
        ends = durations.cumsum(dim=1)  # [B, N]
        frame = torch.arange(int(ends[:, -1].max()), device=durations.device).expand(len(durations), -1)  # [B, F]
        owner = torch.searchsorted(ends, frame.contiguous(), right=True).clamp_max(durations.shape[1] - 1)
        long = durations.gather(1, owner).clamp_min(1).to(columns.dtype)
        through = (frame - ends.gather(1, owner)).to(columns.dtype) / long + 1 + 0.5 / long
        told = torch.cat([columns, cond.manner.to(columns.dtype)], dim=-1)  # [B, N, C + 2]
        spoken = told.gather(1, owner[..., None].expand(-1, -1, told.shape[2]))
        inside = (frame < ends[:, -1:])[..., None]
        given = torch.cat([spoken, through[..., None], long.log()[..., None]], dim=-1) * inside
        later = body.spec.latency
        made: Tensor = body(F.pad(given, (0, 0, 0, later)))[:, later:]
        return made
