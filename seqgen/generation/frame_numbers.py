"""Distributions of the elements of frames, given a vector for each frame: independent, or of one component together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.distributions.contract import Distribution, full
from seqgen.errors import SeqgenError
from seqgen.nets.hidden_layers import Nonlinearity, hidden_layers

_COLDEST = 1e-3  # temperature at which nothing but the likeliest component is drawn


class FrameNumbers(nn.Module):
    """Elements of frames, ``p(x_n | c_n) = Σ_k π_k(c_n) Π_d p(x_nd; params_kd(c_n))`` for K components, the shares and
    parameters a perceptron of the frame's vector and a linear map of it, which are added up.

    With one component elements are independent; with more a frame is of one of them as a whole, so that its elements go
    together, and an element is scored given those before it in its frame. Below a temperature of 1 likelier components
    are drawn more often than they are due.

    Args:
        width: of a frame's vector. hidden: widths of the hidden layers. activation: behind each of them.
        distribution: of an element. elements: of a frame. components: K.

    Shapes: vectors ``[B, F, width]``; x ``[B, T]`` of at most F·D elements.

    Raises:
        SeqgenError: for sizes that make no network.
    """

    def __init__(
        self,
        width: int,
        hidden: Sequence[int],
        activation: Nonlinearity,
        distribution: Distribution,
        *,
        elements: int,
        components: int = 1,
    ) -> None:
        super().__init__()
        outputs = components * elements * distribution.num_params + (components if components > 1 else 0)
        widths = [width, *hidden, outputs]
        if min(*widths, components) < 1:
            raise SeqgenError(
                f"{elements} elements of {components} components by layers of {widths}",
                remedy="give 1 or more of everything",
            )
        self.network = nn.Sequential(*hidden_layers(widths[:-1], activation), nn.Linear(widths[-2], outputs))
        self.linear = nn.Linear(width, outputs, bias=False)
        self.distribution, self.elements, self.components = distribution, elements, components

    @property
    def num_uniforms(self) -> int:
        """Uniforms of an element: its own, and of a mixture one more, of which a frame's first counts."""
        return self.distribution.num_uniforms + (self.components > 1)

    def params(self, vectors: Tensor) -> Tensor:
        """Parameters of every element's distribution, ``[B, F·D, num_params]``.

        Raises:
            SeqgenError: for a mixture, whose elements have no distribution by themselves.
        """
        if self.components > 1:
            raise SeqgenError(
                f"elements of frames of {self.components} components have no distributions of their own",
                remedy="set components to 1",
            )
        return self._made(vectors).reshape(len(vectors), -1, self.distribution.num_params)

    def log_prob(self, x: Tensor, vectors: Tensor) -> Tensor:
        """``[B, T] → [B, T]``."""
        count = x.shape[1]
        if self.components == 1:
            return self.distribution.log_prob(self.params(vectors)[:, :count], x)
        log_shares, params = self._mixture(vectors)  # [B, F, K], [B, F, K, D, num_params]
        frames = self._framed(x, vectors.shape[1])[:, :, None].expand(params.shape[:-1])
        each = self.distribution.log_prob(params, frames)  # [B, F, K, D]
        so_far = torch.logsumexp(log_shares[..., None] + each.cumsum(dim=-1), dim=2)  # [B, F, D]
        return torch.diff(so_far, dim=-1, prepend=torch.zeros_like(so_far[..., :1])).flatten(1)[:, :count]

    def sample(self, u: Tensor, vectors: Tensor, temperature: Tensor | float) -> Tensor:
        """``[B, T, num_uniforms] → [B, T]``."""
        count = u.shape[1]
        if self.components == 1:
            return self.distribution.sample(self.params(vectors)[:, :count], u, temperature)
        log_shares, params = self._mixture(vectors)
        frames = self._framed(u, vectors.shape[1])  # [B, F, D, num_uniforms]
        warmth = torch.as_tensor(temperature).clamp_min(_COLDEST)  # one, or [B, 1]
        shares = torch.softmax(log_shares / (warmth if warmth.dim() == 0 else warmth[..., None]), dim=-1)
        below = shares.cumsum(dim=-1)[..., :-1]  # [B, F, K - 1]
        chosen = (frames[:, :, 0, :1] >= below).sum(dim=-1)  # [B, F], by the first uniform of a frame
        own = params.gather(2, chosen[..., None, None, None].expand(-1, -1, 1, *params.shape[3:]))[:, :, 0]
        return self.distribution.sample(own, frames[..., 1:], temperature).flatten(1)[:, :count]

    def _framed(self, values: Tensor, frames: int) -> Tensor:
        """``[B, T, …] → [B, F, D, …]``, zeros behind the last element."""
        more = frames * self.elements - values.shape[1]
        padded = F.pad(values, (*(0, 0) * (values.dim() - 2), 0, more))
        return padded.reshape(len(values), -1, self.elements, *values.shape[2:])

    def _mixture(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of the components' shares, ``[B, F, K]``, and parameters, ``[B, F, K, D, num_params]``."""
        made = self._made(vectors)
        shares, params = made[..., : self.components], made[..., self.components :]
        sizes = (self.components, self.elements, self.distribution.num_params)
        return torch.log_softmax(full(shares), dim=-1), params.reshape(len(vectors), -1, *sizes)

    def _made(self, vectors: Tensor) -> Tensor:
        """Outputs of the network, ``[B, F, outputs]``."""
        outputs: Tensor = self.network(vectors) + self.linear(vectors)
        return outputs
