"""Density of what is spoken: numbers of each phone (its duration), or of each frame of a recording (log-mel bands).

    p(d | phones) = Π_n p(ln d_n | e_n)          p(y | phones, d) = Π_t p(y_t | h_t)

e = an encoder of all phones; h = a causal network, with little look-ahead, of the column e_n of the phone that frame t
lies in, how far through it the frame is, and how long it is. So every phone of the text has its frames: none can be
left out or said twice.

Source: Ren et al., "FastSpeech", arXiv 1905.09263, section 3.2, for columns that are repeated by durations; a mixture
over whole frames in the place of its squared errors is ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen import config, registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density, DensityExample
from seqgen.generation.framewise import Framewise
from seqgen.models.encoder import Encoder
from seqgen.models.frames import FrameConditioner
from seqgen.spec import Facts, FrameSpec
from seqgen.stream.conditioning import Frames

_PLACE = 2  # numbers that say where in its phone a frame is


@dataclass(frozen=True)
class Phones:
    """Phones of B recordings.

    Attributes:
        tokens: int64 ``[B, N]``. counts: ``[B]``, phones of each row. durations: int64 ``[B, N]``, frames of each
            phone, 0 behind the last one.
    """

    tokens: Tensor
    counts: Tensor
    durations: Tensor


class SpokenDensity(Density):
    """Density of the numbers of phones, or of frames where there is a ``body``.

    Shapes: x ``[B, N·D]``, or with a body ``[B, F·D]``, or with one more dimension of 1 → ``[B, …]``; D numbers of a
    phone or frame, F frames of all phones.

    Raises:
        SeqgenError: for an encoder of another alphabet than the data's, and for what :class:`Framewise` refuses.
    """

    @dataclass(frozen=True)
    class Config:
        """Options.

        Attributes:
            encoder: of phones. body: network from phones to frames (``None``: numbers are those of phones).
            width: numbers that the body gives for a frame.
            hidden, distribution, components: of the density of a phone or frame (:class:`Framewise`).
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
        cond = Phones(tokens, torch.tensor([4, 2, 3]), torch.tensor([[1, 2, 1, 2], [3, 3, 0, 0], [2, 2, 2, 0]]))
        encoder = Component("bytenet-encoder", {"vocab_size": 5, "channels": 4, "out_dim": 6, "cycles": 1})
        categorical = Component("categorical", {"classes": 3})
        facts = Facts(alphabet=tuple("abcde"), shape=(2,))
        for body, steps in ((None, 4), (FrameConditioner.Config(channels=5, blocks=1, look_ahead=1), 6)):
            options = cls.Config(encoder, body, width=4, distribution=categorical, components=2)
            x = torch.randint(3, (3, 2 * steps), generator=generator)
            yield DensityExample(cls.build(options, facts), x, cond, torch.arange(3))

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
            given = Facts(frames=FrameSpec(channels=encoder.out_dim + _PLACE, hop=1))
            body, width = FrameConditioner.build(options.body, given, out_dim=options.width), options.width
        head = Framewise.Config(options.hidden, "relu", options.distribution, options.components)
        each = Facts(frames=FrameSpec(channels=width, hop=facts.shape[0]))
        return cls(encoder, body, Framewise.build(head, each, source=source))

    def __init__(self, encoder: Encoder, body: FrameConditioner | None, head: Framewise) -> None:
        super().__init__()
        self.encoder, self.body, self.head = encoder, body, head
        self.vocab_size = head.vocab_size

    @property
    def num_uniforms(self) -> int:
        return self.head.num_uniforms

    def log_prob(self, x: Tensor, cond: Phones | None = None) -> Tensor:
        return self.head.log_prob(x, self._frames(cond))

    def sample(self, u: Tensor, cond: Phones | None = None, temperature: Tensor | float = 1.0) -> Tensor:
        return self.head.sample(u, self._frames(cond), temperature)

    def _frames(self, cond: Phones | None) -> Frames:
        """A vector for each phone, or each frame of it."""
        if cond is None:
            raise SeqgenError("numbers of phones without phones", remedy="give their tokens and durations")
        columns = self.encoder(cond.tokens, cond.counts)  # [B, N, C]
        vectors = columns if self.body is None else self._spread(self.body, columns, cond.durations)
        return Frames(vectors, torch.zeros(len(vectors), dtype=torch.int64, device=vectors.device))

    def _spread(self, body: FrameConditioner, columns: Tensor, durations: Tensor) -> Tensor:
        """Vectors of frames, ``[B, F, width]``."""
        ends = durations.cumsum(dim=1)  # [B, N]
        frame = torch.arange(int(ends[:, -1].max()), device=durations.device).expand(len(durations), -1)  # [B, F]
        owner = torch.searchsorted(ends, frame.contiguous(), right=True).clamp_max(durations.shape[1] - 1)
        long = durations.gather(1, owner).clamp_min(1).to(columns.dtype)
        through = (frame - ends.gather(1, owner)).to(columns.dtype) / long + 1 + 0.5 / long
        place = torch.stack([through, long.log()], dim=-1)  # [B, F, 2]
        spoken = columns.gather(1, owner[..., None].expand(-1, -1, columns.shape[2]))
        inside = (frame < ends[:, -1:])[..., None]
        given = torch.cat([spoken, place], dim=-1) * inside
        later = body.spec.latency
        made: Tensor = body(F.pad(given, (0, 0, 0, later)))[:, later:]
        return made
