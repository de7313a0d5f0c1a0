"""Layers at the rate of frames, or of any other slow one, as ops that the native engine runs."""

from __future__ import annotations

from typing import Any

from torch import nn

from seqgen.errors import SeqgenError
from seqgen.models.frames import FrameConditioner
from seqgen.nets.layers import ACTIVATIONS, Activation, CausalConv1d, Dense
from seqgen.stream.combinators import Interpolate, Residual, Serial
from seqgen.stream.contract import Streamable
from seqgen.stream.state import leaves

Op = dict[str, Any]


class Network:
    """Collects the ops of a network, value by value; what comes in is the value ``features``.

    Args:
        weights: the generator, whose parameter names the ops use. state: that of one fresh stream.
    """

    def __init__(self, weights: nn.Module, state: Any) -> None:
        self.ops: list[Op] = []
        self._tensors = {id(parameter): name for name, parameter in weights.named_parameters()}
        self._states = {id(leaf): name for name, leaf in leaves(state)}

    def conditioner(self, net: FrameConditioner, state: Any) -> str:
        """Ops of the whole network; returns the name of the value that the interpolation takes."""
        scaled = self._add("normalise", "features", start=0, stop=net.channels, shift=net.silence, scale=net.scale)
        value = self.layer(net.enter, state[0], scaled)
        if net.speaker is not None:
            hot = self._add("slice", "features", start=net.channels, stop=net.channels + net.speakers)
            voice = self._add("dense", hot, weight=self._tensors[id(net.speaker.weight)])
            value = self._add("add", value, **{"and": voice})
        if net.period is None:
            return self.layer(net.rest, state[1], value)
        for part, inner in zip(net.rest.layers[:-1], state[1][:-1], strict=True):
            value = self.layer(part, inner, value)  # type: ignore[arg-type]
        period = net.period
        told = {"start": period.place, "silence": period.silence, "longest": period.longest, "span": period.span}
        value = self._add("period", "features", **told, delay=period.delay, **{"and": value})
        return self.layer(net.interpolate, state[1][-1], value)

    def layer(self, layer: Streamable[Any], state: Any, value: str) -> str:
        """Ops of one layer over ``value``; returns the name of what it makes.

        Raises:
            SeqgenError: for a layer that the engine has no op for.
        """
        if isinstance(layer, Serial):
            for part, inner in zip(layer.layers, state, strict=True):
                value = self.layer(part, inner, value)  # type: ignore[arg-type]
            return value
        if isinstance(layer, Residual) and not layer.spec.latency:
            return self._add("add", self.layer(layer.body, state.body, value), **{"and": value})
        if isinstance(layer, CausalConv1d):
            initial = {"initial": self._states[id(state)]} if layer.left else {}
            return self._add("conv", value, **self._linear(layer), dilation=layer.dilation, **initial)
        if isinstance(layer, Dense):
            return self._add("dense", value, **self._linear(layer.linear))
        if isinstance(layer, Activation):
            for name in ("relu", "gelu"):
                if layer.function is ACTIVATIONS[name]:
                    return self._add(name, value)
        if isinstance(layer, Interpolate):
            self.ops.append({"op": "interpolate", "in": value, "up": layer.spec.up, "initial": self._states[id(state)]})
            return value
        raise SeqgenError(
            f"the native engine has no op for {type(layer).__name__}", remedy="run this voice through onnxruntime"
        )

    def _linear(self, layer: nn.Linear | CausalConv1d) -> dict[str, str]:
        return {"weight": self._tensors[id(layer.weight)], "bias": self._tensors[id(layer.bias)]}

    def _add(self, op: str, value: str, **options: Any) -> str:
        made = f"value.{len(self.ops)}"
        self.ops.append({"op": op, "in": value, "out": made, **options})
        return made
