"""Spectral normalization: linear layers that stretch no vector, by estimates of the largest singular values of weights.

An estimate that changed in the forward pass would make a loss depend on how often it was asked for. Here it changes
when :func:`follow` is called, once after each update of the weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FIRST_ITERATIONS = 30  # with fresh weights, whose singular values lie close together
_EPSILON = 1e-12


class SpectralLinear(nn.Linear):
    """Linear layer with its weights W divided by their largest singular value, as power iteration estimates it:

        y = W x / σ + b,    σ = uᵀ W v,    v ← Wᵀ u / ‖Wᵀ u‖,  u ← W v / ‖W v‖

    Its slope is 1 up to what the estimate lags behind: σ is never too large, and with weights that stand still it
    converges. u and v are buffers, kept in checkpoints. Averaged weights are divided by what u and v say of them.

    Shapes: ``[…, inputs] → […, outputs]``.

    Source: Miyato et al., "Spectral normalization for generative adversarial networks", arXiv 1802.05957, section 2.1
    and algorithm 1.

    Example:
        >>> layer = SpectralLinear(1, 1)
        >>> bool((layer(torch.ones(1)) - layer.bias).abs() == 1)
        True
    """

    left: Tensor
    right: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("left", F.normalize(torch.randn(outputs), dim=0, eps=_EPSILON))
        self.register_buffer("right", torch.zeros(inputs))
        for _ in range(_FIRST_ITERATIONS):
            self.follow()

    def forward(self, x: Tensor) -> Tensor:
        sigma = torch.dot(self.left, self.weight @ self.right)
        return F.linear(x, self.weight / sigma, self.bias)

    @torch.no_grad()
    def follow(self) -> None:
        """One step of power iteration."""
        self.right.copy_(F.normalize(self.weight.T @ self.left, dim=0, eps=_EPSILON))
        self.left.copy_(F.normalize(self.weight @ self.right, dim=0, eps=_EPSILON))


def follow(network: nn.Module) -> None:
    """Have the estimates of a network's layers follow an update of its weights."""
    for module in network.modules():
        if isinstance(module, SpectralLinear):
            module.follow()
