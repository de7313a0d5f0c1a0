"""A waveform encoder as an op of the native engine: strided convolutions, then a gated recurrence."""

from __future__ import annotations

from collections.abc import Callable

from seqgen.export.contract import Matrices, NetworkExporter, Placed
from seqgen.export.network import Network, Op
from seqgen.models.waveform_encoder import WaveformEncoder
from seqgen.nets.normalization import LayerNormalization
from seqgen.nets.strided import StridedConvolutions

_MOST_HOP = 1 << 16


class WaveformEncoderExporter(NetworkExporter):
    """Waveform encoders, whatever their strides, normalized or not."""

    op = "waveform-encoder"
    runs = "waveform encoders"
    codecs = ()

    def fits(self, network: WaveformEncoder) -> bool:
        return network.spec.down <= _MOST_HOP

    def described(self, placed: Placed, layers: Callable[[], Network]) -> Op:
        net, at = placed.network, placed.at
        assert isinstance(net, WaveformEncoder)
        front = net.front
        assert isinstance(front, StridedConvolutions)
        convolutions = [
            {
                "stride": stride,
                **{part: f"{at}front.convolutions.{number}.{part}" for part in ("weight", "bias")},
                **_norm(norm, f"{at}front.norms.{number}"),
            }
            for number, (stride, norm) in enumerate(zip(_strides(front), front.norms, strict=True))
        ]
        parts = {"input_weight": "input.weight", "input_bias": "input.bias", "recurrent": "recurrent"}
        context = {part: f"{at}context.{name}" for part, name in parts.items()}
        return {"op": self.op, "convolutions": convolutions, "context": context}

    def matrices(self, op: Op) -> Matrices:
        """Both of the recurrence; those of convolutions are no matrices in the file."""
        return Matrices({op["context"][kind]: 1 for kind in ("input_weight", "recurrent")})


def _strides(front: StridedConvolutions) -> list[int]:
    return [convolution.spec.down for convolution in front.convolutions]  # type: ignore[union-attr,misc]


def _norm(norm: object, at: str) -> Op:
    if not isinstance(norm, LayerNormalization):
        return {}
    return {"gain": f"{at}.gain", "norm_bias": f"{at}.bias", "epsilon": norm.epsilon}
