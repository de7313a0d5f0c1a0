"""Voices that speak as bundles: the files of a vocoder, and what makes its frames of text as ONNX graphs."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from safetensors.numpy import save_file as save_numpy
from torch import Tensor, nn

from seqgen import bundle
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.export import spelling
from seqgen.export.graph import rename, trace
from seqgen.export.levels import in_levels, rounded
from seqgen.export.loops import TYPES
from seqgen.export.symbol_graphs import save
from seqgen.files.outputs import replacing, write_text
from seqgen.generation.spoken import Phones, SpokenDensity
from seqgen.manifest import VocoderManifest, VoiceManifest
from seqgen.runtime.speaker import PROSODY
from seqgen.runtime.voice import COLUMNS_GRAPH, FRAMES_GRAPH, FRESH, GOLDEN, LEXICON, PROSODY_GRAPH
from seqgen.stream.state import leaves, unflatten
from seqgen.text.pronounced.lexicon import Lexicon

_PHONES = 7  # of a traced sentence, as its frames distinct from other sizes
_FRAMES = 5
_GOLDEN = 12  # phones


@dataclass(frozen=True)
class About:
    """Description of a speaking voice in its bundle.

    Attributes:
        name, licence, provenance: as in the manifest. config: resolved configuration of the run of the frames, YAML.
    """

    name: str
    licence: str
    config: str
    provenance: Mapping[str, str] = field(default_factory=dict)


class _Prosody(nn.Module):
    """Phones ``[1, N]``, uniforms and a temperature: numbers of their prosody ``[1, N·3]``."""

    def __init__(self, density: SpokenDensity) -> None:
        super().__init__()
        self.density = density

    def forward(self, tokens: Tensor, uniforms: Tensor, temperature: Tensor) -> Tensor:
        none = tokens[..., None].float().expand(-1, -1, PROSODY - 1)
        return self.density.sample(uniforms, Phones(tokens, _counts(tokens), tokens, none), temperature)


class _Columns(nn.Module):
    """Phones ``[1, N]``: their columns ``[1, N, C]``."""

    def __init__(self, density: SpokenDensity) -> None:
        super().__init__()
        self.encoder = density.encoder

    def forward(self, tokens: Tensor) -> Tensor:
        made: Tensor = self.encoder(tokens, _counts(tokens))
        return made


class _Frames(nn.Module):
    """Block of frames: of what they are told ``[1, F, C + 4]``, uniforms, a temperature and a state their numbers
    ``[1, F·D]``, as many frames late as the network looks ahead, and the state after."""

    def __init__(self, density: SpokenDensity) -> None:
        super().__init__()
        self.density = density

    def forward(self, given: Tensor, uniforms: Tensor, temperature: Tensor, *flat: Tensor) -> tuple[Tensor, ...]:
        body = self.density.body
        assert body is not None
        vectors, state = body.step(given, unflatten(body.init_state(1), flat))
        made = self.density.numbers.sample(uniforms, vectors, temperature)
        return (made, *(leaf for _, leaf in leaves(state)))


def _counts(tokens: Tensor) -> Tensor:
    return (tokens >= 0).sum(dim=1)  # a length that stays free in a trace


@torch.no_grad()
def write(
    prosody: SpokenDensity,
    frames: SpokenDensity,
    lexicon: Lexicon,
    vocoder: Bundle,
    about: About,
    out: Path,
    *,
    speller: Bundle | None = None,
    small: bool = False,
) -> Bundle:
    """Write a voice that speaks, of densities of prosody and frames and a vocoder of the same frames; ``speller`` is
    the translator of letters into phones that reads what the lexicon does not have; ``small``: the densities' matrices
    in 8 bits.

    Raises:
        SeqgenError: for a density of frames without a body, and where ``out`` cannot be written.
    """
    manifest = vocoder.require(VocoderManifest)
    if frames.body is None or prosody.body is not None:
        raise SeqgenError("a voice speaks by prosody of phones, and frames", remedy="give a run of either")
    prosody, frames = prosody.eval(), frames.eval()
    if small:
        prosody, frames = rounded(prosody), rounded(frames)
    late, columns = frames.body.spec.latency, frames.encoder.out_dim

    def fill(directory: Path) -> None:
        for entry in manifest.files:
            shutil.copyfile(vocoder.path(entry.name), directory / entry.name)
        write_text(directory / "speech.yaml", about.config)
        with replacing(directory / LEXICON) as file:
            file.write(lexicon.packed())
        state = {name: leaf.numpy().copy() for name, leaf in leaves(frames.body.init_state(1))}  # type: ignore[union-attr]
        save_numpy(state, directory / FRESH)
        for name, graph in _graphs(prosody, frames).items():
            save(in_levels(graph) if small else graph, directory, name)
        save_numpy(_golden(prosody, frames), directory / GOLDEN)
        if speller is not None:
            spelling.write(speller, directory)

    versions = {"torch": torch.__version__, "platform": f"{platform.system()} {platform.machine()}"}
    given = {one.name: getattr(manifest, one.name) for one in fields(manifest)}
    given |= {
        "name": about.name, "kind": "voice", "licence": about.licence, "files": (), "digest": "",
        "provenance": {**versions, **about.provenance, **_origin("vocoder", vocoder),
                       **({} if speller is None else _origin("g2p", speller))},
    }  # fmt: skip
    made = VoiceManifest(
        **given,
        columns=columns,
        frames_ahead=late,
        prosody_uniforms=prosody.num_uniforms,
        frame_uniforms=frames.num_uniforms,
    )
    return bundle.write(out, made, fill)


def _origin(part: str, source: Bundle) -> dict[str, str]:
    """Provenance of what another bundle gave."""
    return {part: source.manifest.digest[:16], f"{part}_licence": source.manifest.licence}


def _graphs(prosody: SpokenDensity, frames: SpokenDensity) -> dict[str, onnx.GraphProto]:
    body = frames.body
    assert body is not None
    tokens, warmth = torch.arange(_PHONES)[None], torch.ones(())
    state = {f"state.{name}": leaf for name, leaf in leaves(body.init_state(1))}
    bands = frames.numbers.elements
    return {
        PROSODY_GRAPH: _graph(
            _Prosody(prosody),
            {
                "tokens": tokens,
                "uniforms": torch.rand(1, _PHONES * PROSODY, prosody.num_uniforms),
                "temperature": warmth,
            },
            ["numbers"],
        ),
        COLUMNS_GRAPH: _graph(_Columns(frames), {"tokens": tokens}, ["columns"]),
        FRAMES_GRAPH: _graph(
            _Frames(frames),
            {
                "given": torch.rand(1, _FRAMES, body.spec.in_dim),
                "uniforms": torch.rand(1, _FRAMES * bands, frames.num_uniforms),
                "temperature": warmth,
                **state,
            },
            ["numbers", *(f"{name}.after" for name in state)],
        ),
    }


def _graph(module: nn.Module, example: Mapping[str, Tensor], outputs: Sequence[str]) -> onnx.GraphProto:
    """Graph of a module over one sentence, whose second axis is free; states keep their shapes."""
    free = [name for name in (*example, *outputs) if not name.startswith("state.") and name != "temperature"]
    piece = trace(module, example, outputs, {name: {1: f"{name}.length"} for name in free})
    made = module(*example.values())
    tensors = dict(zip(outputs, made if isinstance(made, tuple) else (made,), strict=True))

    def info(name: str, tensor: Tensor) -> Any:
        shape: list[Any] = list(tensor.shape)
        if name in free:
            shape[1] = f"{name}.length"
        return helper.make_tensor_value_info(name, _kind(tensor), shape)

    nodes = rename(piece, "block/", {name: name for name in (*piece.inputs, *piece.outputs)}).nodes
    return helper.make_graph(
        nodes,
        "seqgen",
        [info(name, tensor) for name, tensor in example.items()],
        [info(name, tensor) for name, tensor in tensors.items()],
        initializer=piece.weights,
    )


def _kind(tensor: Tensor) -> int:
    return TensorProto.INT64 if tensor.dtype == torch.int64 else TYPES[tensor.dtype]


def _golden(prosody: SpokenDensity, frames: SpokenDensity) -> dict[str, Any]:
    """Some phones, their likeliest prosody and its likeliest frames, each phone some frames long."""
    tokens = torch.arange(_GOLDEN)[None]
    durations, counts = 1 + torch.arange(_GOLDEN)[None] % 5, torch.tensor([_GOLDEN])
    u = torch.full((1, _GOLDEN * PROSODY, prosody.num_uniforms), 0.5)
    none = torch.zeros(1, _GOLDEN, PROSODY - 1)
    manner = prosody.sample(u, Phones(tokens, counts, durations, none), torch.zeros(())).view(1, _GOLDEN, PROSODY)
    u = torch.full((1, int(durations.sum()) * frames.numbers.elements, frames.num_uniforms), 0.5)
    made = frames.sample(u, Phones(tokens, counts, durations, manner[..., 1:]), torch.zeros(()))
    kept = {"tokens": tokens[0], "durations": durations[0], "prosody": manner[0],
            "frames": made.view(-1, frames.numbers.elements)}  # fmt: skip
    return {name: np.ascontiguousarray(value.numpy()) for name, value in kept.items()}
