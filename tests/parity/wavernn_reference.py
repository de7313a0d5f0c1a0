"""WaveRNN written out anew from arXiv 1802.08435, section 2, in numpy float64: what the real one is compared with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _gates(rows: Array, half: int) -> list[Array]:
    """Rows that come as (r, u, e) of the coarse half, then (r, u, e) of the fine half → r, u, e of the whole state."""
    blocks = [rows[i * half : (i + 1) * half] for i in range(6)]
    return [np.concatenate([blocks[gate], blocks[gate + 3]]) for gate in range(3)]


def _head(weights: Mapping[str, Array], y: Array, first: str, second: str) -> Array:
    inner = np.maximum(weights[f"{first}.weight"] @ y + weights[f"{first}.bias"], 0)
    return weights[f"{second}.weight"] @ inner + weights[f"{second}.bias"]


def reference_logits(
    weights: Mapping[str, Array],
    elements: npt.NDArray[np.int64],
    cond: Array | None,
    *,
    unit: float,
    reset: str = "after",
    masked: bool = True,
) -> Array:
    """Logits of every byte of one row, given the bytes before it.

    ``elements [2N]`` is coarse, fine, coarse, fine …; ``cond [N, 3H]`` has the rows' order. The sample before the
    first one is silence: 32768 = (128, 0). ``unit`` is what byte 255 is as an input of the stored weights; the paper's
    is 1, so its input weights are ``unit`` times the stored ones. ``reset="before"`` is the other GRU,
    ``tanh(I x + R (r ∘ h))``.
    """
    width = weights["recurrent"].shape[1]
    half = width // 2
    r_matrix, u_matrix, e_matrix = _gates(weights["recurrent"], half)
    inputs = _gates(weights["input"] * unit, half)
    if masked:
        inputs = [np.concatenate([i[:half] * [1, 1, 0], i[half:]]) for i in inputs]
    bias = _gates(weights["bias"], half) if cond is None else None
    h, coarse, fine, logits = np.zeros(width), 128, 0, []
    for t in range(len(elements) // 2):
        x = np.array([coarse, fine, elements[2 * t]]) * 2 / 255 - 1
        added = bias if bias is not None else _gates(np.asarray(cond)[t], half)
        r_in, u_in, e_in = (matrix @ x + extra for matrix, extra in zip(inputs, added, strict=True))
        u = _sigmoid(u_matrix @ h + u_in)
        r = _sigmoid(r_matrix @ h + r_in)
        e = np.tanh((r * (e_matrix @ h) if reset == "after" else e_matrix @ (r * h)) + e_in)
        h = u * h + (1 - u) * e
        logits += [_head(weights, h[:half], "o1", "o2"), _head(weights, h[half:], "o3", "o4")]
        coarse, fine = int(elements[2 * t]), int(elements[2 * t + 1])
    return np.stack(logits)
