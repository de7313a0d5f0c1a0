"""Sentence encoder: a convolution within each sentence, and a gated recurrence over sentences.

    h_s = ReLU(b + Σ_k W_k E[x_{s + k - (K-1)//2}]),    z_t = mean of h_s over its symbols,    c_t = GRU(z_t, c_{t-1})

Source: van den Oord, Li and Vinyals, "Representation learning with contrastive predictive coding", arXiv 1807.03748,
section 3.3. The paper names the convolution, ReLU and the mean; that padding is left out of the mean is ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.models.context_encoder import ContextEncoder
from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable


class SentenceConvolution(Streamable[tuple[()]]):
    """A latent for each sentence of ``length`` symbols, the last symbol of the alphabet being padding.

    Nothing is seen across the edges of a sentence. One without any symbol is zeros.

    Shapes: int64 ``[B, T·length] → [B, T, channels]``, blocks in whole sentences.
    """

    def __init__(self, vocab_size: int, length: int, *, embedding: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.weight = nn.Parameter(torch.empty(channels, embedding, kernel))
        self.bias = nn.Parameter(torch.zeros(channels))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.spec = StreamSpec(
            in_dim=0, out_dim=channels, down=length, context=length, vocab_size=vocab_size, block=length
        )

    def init_state(self, batch: int, memory: Any = None) -> tuple[()]:
        return ()

    def step(self, x: Tensor, state: tuple[()], cond: Conditioning | None = None) -> tuple[Tensor, tuple[()]]:
        if x.shape[1] % self.spec.down:
            raise SeqgenError(
                f"sentence encoder: got a block of {x.shape[1]} symbols",
                remedy=f"give whole sentences, of {self.spec.down} symbols with their padding",
            )
        symbols = x.reshape(-1, self.spec.down)  # [B·T, length]
        real = (symbols != self.spec.vocab_size - 1)[..., None]  # [B·T, length, 1]
        embedded = self.embedding(symbols) * real
        left = (self.weight.shape[2] - 1) // 2
        padded = F.pad(embedded.transpose(1, 2), (left, self.weight.shape[2] - 1 - left))
        h = torch.relu(F.conv1d(padded, self.weight, self.bias)).transpose(1, 2) * real  # [B·T, length, channels]
        z = h.sum(dim=1) / real.sum(dim=1).clamp(min=1)  # [B·T, channels]
        return z.reshape(x.shape[0], -1, z.shape[1]), ()


class SentenceEncoder(ContextEncoder):
    """Encoder of sentences: symbols in, a context for each sentence out.

    A sentence is ``length`` symbols, filled up with the last symbol of the alphabet, which is no other's.

    Shapes: int64 ``[B, T·length] → [B, T, hidden]``, z ``[B, T, channels]``; blocks in whole sentences.

    Raises:
        SeqgenError: for sizes that make no network.

    Source: arXiv 1807.03748, section 3.3.

    Example:
        >>> net = SentenceEncoder(SentenceEncoder.Config(vocab_size=5, length=6, channels=8, hidden=4))
        >>> net(torch.zeros(2, 18, dtype=torch.int64)).shape
        torch.Size([2, 3, 4])
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the encoder; the paper has 2400 channels and as wide a context.

        Attributes:
            vocab_size: of the alphabet, with padding as its last symbol. length: symbols of a sentence.
            embedding: channels of a symbol. kernel: symbols that the convolution spans.
            channels: of a latent. hidden: width of the context.
        """

        vocab_size: int
        length: int
        embedding: int = 64
        kernel: int = 5
        channels: int = 256
        hidden: int = 256

    @classmethod
    def examples(cls) -> Iterable[SentenceEncoder]:
        sizes = cls.Config(vocab_size=4, length=5, embedding=3, kernel=3, channels=5, hidden=4)
        return [cls(sizes), cls(replace(sizes, kernel=4))]

    def __init__(self, config: Config) -> None:
        for name, value in vars(config).items():
            if value < 1:
                raise SeqgenError(f"sentence encoder: {name} is {value}", remedy="give 1 or more")
        front = SentenceConvolution(
            config.vocab_size,
            config.length,
            embedding=config.embedding,
            channels=config.channels,
            kernel=config.kernel,
        )
        super().__init__(front, config.hidden)
