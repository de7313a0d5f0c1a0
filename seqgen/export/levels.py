"""Weights of a graph in 8 bits: a quarter of a file's size, the same arithmetic in float32."""

from __future__ import annotations

import copy
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

Network = TypeVar("Network", bound=nn.Module)

_TOP = 127
_LEAST = 4096
"""Numbers of a weight that is worth it."""


def in_levels(graph: onnx.GraphProto) -> onnx.GraphProto:
    """A graph whose matrices are held in 8 bits, ``w ≈ q · scale`` with a scale for each of a matrix's first axis:
    embedded symbols, outputs of layers and of convolutions. Whoever loads it makes float32 of them, once.

    Biases and small matrices stay as they are.

    Example:
        >>> in_levels(graph).initializer[0].data_type == onnx.TensorProto.INT8              # doctest: +SKIP
        True
    """
    made, nodes = [], []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or not _worth_it(values):
            made.append(weight)
            continue
        whole, scale = _levels(values)
        name = weight.name
        made += [numpy_helper.from_array(whole, f"{name}.levels"), numpy_helper.from_array(scale, f"{name}.scale")]
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}.levels", f"{name}.scale"], [name], axis=0))
    smaller = onnx.GraphProto()
    smaller.CopyFrom(graph)
    del smaller.node[:], smaller.initializer[:]
    smaller.node.extend([*nodes, *graph.node])
    smaller.initializer.extend(made)
    return smaller


@torch.no_grad()
def rounded(network: Network) -> Network:
    """A copy of a network that has the weights of :func:`in_levels`, in float32."""
    made = copy.deepcopy(network)
    for parameter in made.parameters():
        values = parameter.numpy()
        if _worth_it(values):
            whole, scale = _levels(values)
            parameter.copy_(torch.from_numpy(whole.astype(np.float32) * _beside(scale, values)))
    return made


def _worth_it(values: npt.NDArray[np.float32]) -> bool:
    return values.ndim >= 2 and values.size >= _LEAST


def _levels(values: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Whole numbers, and what one of them is, for each of the first axis."""
    largest = np.abs(values).reshape(len(values), -1).max(axis=1)
    scale = (np.where(largest > 0, largest, 1) / _TOP).astype(np.float32)
    return np.rint(values / _beside(scale, values)).astype(np.int8), scale


def _beside(scale: npt.NDArray[np.float32], values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return scale.reshape(-1, *[1] * (values.ndim - 1))
