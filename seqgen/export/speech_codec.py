"""Speech codecs as bundles: a latent-variable model of sound whose codes are symbols.

The encoder is one streamed graph, ``codes.onnx``: elements in, the symbols that stand for them out, its state going in
and out by name. The decoder is the native engine's program of a voice whose frames are the vectors of a code
(:mod:`seqgen.export.program`); the vectors of all symbols stand in a file of their own. Where the model's prior is an
autoregressive density, ``prior.onnx`` gives the probabilities by which symbols are coded.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file
from torch import Tensor, nn

from seqgen import bundle, noise, registry
from seqgen.audio.codec import Codec
from seqgen.bundle import Bundle
from seqgen.distributions.categorical import Categorical
from seqgen.errors import SeqgenError
from seqgen.export import program
from seqgen.export.graph import rename, trace
from seqgen.export.loops import TYPES
from seqgen.export.symbol_graphs import save, step_graph
from seqgen.files.outputs import write_text
from seqgen.flows.one_hot import one_hot
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.contract import Generator
from seqgen.generation.vocoder import Vocoder
from seqgen.latents.contract import Setting
from seqgen.latents.density_prior import DensityPrior
from seqgen.latents.variable import LatentVariable
from seqgen.manifest import PRIOR, SpeechCodecManifest
from seqgen.models.encoder import StreamedEncoder
from seqgen.models.frames import with_speaker
from seqgen.runtime import codec_prior
from seqgen.runtime.speech_codec import BOOKS, FRESH, GRAPH
from seqgen.spec import StreamSpec
from seqgen.stream.state import leaves, table, unflatten
from seqgen.train import weights

_POSITIONS = 24  # of the golden recording
_BATCH, _BLOCKS = 3, 5  # of the trace, distinct from other sizes
_SCORED = 256  # golden elements whose distributions are kept


@dataclass(frozen=True)
class About:
    """Description of a speech codec in its bundle.

    Attributes:
        name, licence, provenance: as in the manifest; the versions of torch and platform are added.
        codec: registered name of how elements make samples. sample_rate: Hz. speakers: of the data.
        config: resolved configuration of the run, YAML.
    """

    name: str
    codec: str
    sample_rate: int
    speakers: tuple[str, ...]
    licence: str
    config: str
    provenance: Mapping[str, str] = field(default_factory=dict)


class _Symbols(nn.Module):
    """A block of elements ``[B, T]``, 1 for those that there are ``[B, T]``: symbols ``[B, F, G]``, and the state."""

    def __init__(self, model: LatentVariable) -> None:
        super().__init__()
        self.model = model

    def forward(self, elements: Tensor, inside: Tensor, *flat: Tensor) -> tuple[Tensor, ...]:
        encoder, posterior = self.model.encoder, self.model.posterior
        assert isinstance(encoder, StreamedEncoder)
        state = unflatten(encoder.body.init_state(1), flat)
        columns, after = encoder.step(elements, state, inside)
        params = self.model.head(columns)
        setting = Setting(self.model.prior, None, torch.ones(params.shape[:2], dtype=torch.bool))
        hot = posterior.code(params, setting)
        symbols = hot.unflatten(-1, (posterior.groups, posterior.classes)).argmax(dim=-1)
        return (symbols, *(leaf for _, leaf in leaves(after)))


def require_codec(model: LatentVariable, codec: Codec) -> Vocoder:
    """The decoder with its way to audio, of a model that is a codec.

    Raises:
        SeqgenError: for codes that are drawn or no symbols, an encoder that does not stream, and a decoder that the
            native engine cannot run.
    """
    posterior, decoder = model.posterior, model.decoder
    if not posterior.discrete or posterior.num_uniforms or posterior.conjugate:
        raise SeqgenError(
            f"codes of {type(posterior).__name__} are no symbols that an encoder is sure of",
            remedy="a codec is made of a run with the posterior vector-quantised",
        )
    if not isinstance(model.encoder, StreamedEncoder):
        raise SeqgenError(
            f"{type(model.encoder).__name__} gives columns of whole sequences alone", remedy="train one that streams"
        )
    if not isinstance(decoder, Generator) or decoder.ahead:
        raise SeqgenError(f"{type(decoder).__name__} makes no audio in a stream", remedy="choose autoregressive")
    vocoder = Vocoder(decoder, codec, None)
    if not program.runnable(vocoder):
        raise SeqgenError(
            f"the native engine cannot run {program.named(vocoder)} with its conditioner",
            remedy="choose a body that it runs, and the conditioner frames",
        )
    return vocoder


@torch.no_grad()
def write(model: LatentVariable, about: About, out: Path) -> Bundle:
    """Write a speech codec as it stands as a bundle, golden vectors included.

    Raises:
        SeqgenError: where ``out`` cannot be written, and as :func:`require_codec`.
    """
    codec: Codec = registry.CODECS.load(about.codec)()
    model = model.eval()
    vocoder = require_codec(model, codec)
    state, prior = vocoder.init_state(1), _coding(model)

    def fill(directory: Path) -> None:
        write_text(directory / "config.yaml", about.config)
        parameters = {name: tensor.contiguous() for name, tensor in weights.of(vocoder.generator).items()}
        save_file(parameters, directory / "weights.safetensors")
        save_numpy(_plain(state), directory / "initial.safetensors")
        assert isinstance(model.encoder, StreamedEncoder)
        save_numpy(_plain(model.encoder.body.init_state(1)), directory / FRESH)
        save_numpy({"vectors": _vectors(model)}, directory / BOOKS)
        save(_graph(model), directory, GRAPH)
        if prior is not None:
            save_numpy(_plain(prior.init_state(1)), directory / codec_prior.FRESH)
            save(step_graph(prior), directory, PRIOR)
        program.write(vocoder, directory, about.sample_rate)
        save_numpy(_golden(model, vocoder, codec), directory / "golden.safetensors")

    return bundle.write(out, _manifest(model, vocoder, about, state), fill)


def _coding(model: LatentVariable) -> AutoRegressive | None:
    """The density that symbols can be coded by, one after the other; ``None`` where the prior is another."""
    density = model.prior.density if isinstance(model.prior, DensityPrior) else None
    if not isinstance(density, AutoRegressive) or density.body.spec.cond_dim:
        return None
    return density if isinstance(density.distribution, Categorical) else None


def _plain(state: Any) -> dict[str, npt.NDArray[Any]]:
    return {name: leaf.numpy().copy() for name, leaf in leaves(state)}


def _vectors(model: LatentVariable) -> npt.NDArray[np.float32]:
    """Vectors that symbols add to the frame of their position, ``[G, K, C]``."""
    posterior = model.posterior
    groups, classes = posterior.groups, posterior.classes
    alone = torch.eye(groups)[:, None, :, None] * torch.eye(classes)[None, :, None, :]  # [G, K, G, K]
    return np.ascontiguousarray(posterior.frames(alone.flatten(-2)).float().numpy())


def _graph(model: LatentVariable) -> onnx.GraphProto:
    encoder = model.encoder
    assert isinstance(encoder, StreamedEncoder)
    state = {f"state.{name}": leaf for name, leaf in leaves(encoder.body.init_state(_BATCH))}
    count = _BLOCKS * encoder.down
    example = {"elements": torch.arange(_BATCH * count).view(_BATCH, count) % max(encoder.vocab_size, 2),
               "inside": torch.ones(_BATCH, count), **state}  # fmt: skip
    outputs = ["symbols", *(f"{name}.after" for name in state)]
    axes = {name: {0: "batch"} for name in (*example, *outputs)}
    axes |= {name: {0: "batch", 1: "time"} for name in ("elements", "inside")}
    axes["symbols"] = {0: "batch", 1: "positions"}
    piece = trace(_Symbols(model), example, outputs, axes)
    value, real, whole = helper.make_tensor_value_info, TensorProto.FLOAT, TensorProto.INT64
    inputs = [value("elements", whole, ["batch", "time"]), value("inside", real, ["batch", "time"])]
    made = [value("symbols", whole, ["batch", "positions", model.posterior.groups])]
    for name, leaf in state.items():
        kind, shape = TYPES[leaf.dtype], ["batch", *leaf.shape[1:]]
        inputs.append(value(name, kind, shape))
        made.append(value(f"{name}.after", kind, shape))
    nodes = rename(piece, "block/", {name: name for name in (*piece.inputs, *piece.outputs)}).nodes
    return helper.make_graph(nodes, "seqgen", inputs, made, initializer=piece.weights)


def _golden(model: LatentVariable, vocoder: Vocoder, codec: Codec) -> dict[str, npt.NDArray[Any]]:
    """A noisy tone, the symbols that torch makes of it, and the distributions of its first elements given these."""
    generator, encoder = vocoder.generator, model.encoder
    samples = _POSITIONS * encoder.down // generator.symbols_per_sample - 5
    drawn = noise.block(0, 0, 0, samples) - 0.5
    audio = (0.3 * np.sin(np.arange(samples) * 0.2) + 0.1 * drawn).astype(np.float32)
    elements = torch.from_numpy(codec.encode(audio))[None]
    params = model.head(encoder(elements, torch.tensor([elements.shape[1]])))
    setting = Setting(model.prior, None, torch.ones(params.shape[:2], dtype=torch.bool))
    code = model.posterior.code(params, setting)  # [1, F, G·K]
    symbols = code.unflatten(-1, (model.posterior.groups, model.posterior.classes)).argmax(dim=-1)
    again = one_hot(symbols, model.posterior.classes, torch.float32).flatten(-2)
    cond = model.conditions(model.posterior.frames(again))
    frames = with_speaker(cond.features, cond.speaker, generator.speakers)[:, : len(symbols[0])]  # the first speaker's
    given = elements[:, : generator.alignment.first_samples(frames.shape[1]) * generator.symbols_per_sample]
    scores, _ = vocoder.step(given, vocoder.init_state(1), frames)
    kept = {"audio": audio, "symbols": symbols[0].numpy(), "frames": frames[0].numpy(),
            "elements": given[0].numpy(), "params": scores[0, :_SCORED].numpy()}  # fmt: skip
    if _coding(model) is not None:
        kept["nats"] = -model.prior.log_prob(again[None])[0, 0].numpy()  # of a position's symbols
    return {name: np.ascontiguousarray(value) for name, value in kept.items()}


def _manifest(model: LatentVariable, vocoder: Vocoder, about: About, state: Any) -> SpeechCodecManifest:
    generator, encoder = vocoder.generator, model.encoder
    assert isinstance(encoder, StreamedEncoder)
    versions = {"torch": torch.__version__, "platform": f"{platform.system()} {platform.machine()}"}
    channels = model.posterior.channels + generator.speakers
    return SpeechCodecManifest(
        name=about.name,
        kind="speech-codec",
        spec=StreamSpec(in_dim=channels, out_dim=1, up=generator.hop, latency=generator.latency, context=None),
        state=table(state),
        licence=about.licence,
        provenance={**versions, **about.provenance},
        sample_rate=about.sample_rate,
        speakers=about.speakers,
        codec=about.codec,
        symbols_per_sample=generator.symbols_per_sample,
        uniforms_per_sample=generator.symbols_per_sample * generator.num_uniforms,
        groups=model.posterior.groups,
        classes=model.posterior.classes,
        positions_ahead=encoder.spec.latency,
        model=weights.digest(model, without=("prior",)),
    )
