"""A bundle: a directory that explains and proves itself, and all that a runtime needs.

    manifest.json        what it is: kind, state table, licence, provenance, sha256 and size of every file
    config.yaml          the resolved configuration of the run that made it
    weights.safetensors  the parameters; the graphs point into this file, so they are stored once
    initial.safetensors  the state of one fresh stream
    step.onnx            elements (and features) in, distributions out (teacher forcing, likelihood)
    loop.onnx            uniforms (and features) in, audio or symbols out: the whole sampling loop in one call
    encoder.onnx         a translator's source in, the columns that its targets are conditioned on out; of a feature
                         extractor audio in, feature vectors out
    tokenizer.json       what makes symbols of text; a translator's source has source_tokenizer.json
    program.json         the same network as a list of ops, for the native engine
    engine.safetensors  its tensors, rounded: in a bundle for that engine only, instead of weights, state and graphs
    prediction.safetensors  matrices of the linear prediction, where the voice has one
    speech.yaml          the run of the frames of a voice that speaks; config.yaml is then its vocoder's
    prosody.onnx         phones and uniforms in, the prosody of each phone out
    columns.onnx         phones in, a vector of each out
    frames.onnx          vectors of frames and uniforms in, frames out, block by block
    english.lexicon      pronunciations of words
    spelling_*           a translator's graphs and tokenizers, which reads the spelling of other words
    golden.safetensors   inputs, noise, outputs and final state to replay

Nothing is pickled. Every byte is covered: the files by their hashes, the manifest by its own digest and by being
written in one canonical form.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from seqgen import config
from seqgen.errors import SeqgenError
from seqgen.files.folders import replacing_folder
from seqgen.files.inputs import in_utf8
from seqgen.manifest import FORMAT, KINDS, FileEntry, Manifest, named

MANIFEST = "manifest.json"
LARGEST = 1 << 31  # no file of a bundle may claim more bytes than this
LARGEST_MANIFEST = 1 << 24  # nor its manifest have more
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
M = TypeVar("M", bound=Manifest)


def _canonical(manifest: Manifest) -> bytes:
    return (json.dumps(config.set_apart(manifest), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _sign(manifest: Manifest) -> Manifest:
    digest = hashlib.sha256(_canonical(replace(manifest, digest=""))).hexdigest()
    return replace(manifest, digest=digest)


def sha256(path: Path) -> str:
    """Hash of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_bundle(directory: Path) -> bool:
    """Test of a folder for a bundle, whole or not."""
    return (directory / MANIFEST).is_file()


class Bundle:
    """An opened, verified bundle.

    Example:
        >>> bundle = Bundle.open(Path("egs/demo/voice"))            # doctest: +SKIP
        >>> bundle.require(VocoderManifest).sample_rate             # doctest: +SKIP
        16000
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory, self.manifest = directory, manifest

    @staticmethod
    def open(directory: Path) -> Bundle:
        """Read the manifest and verify size and hash of every file.

        Raises:
            SeqgenError: naming the file and what is wrong with it.
        """
        manifest = read_manifest(directory)
        for entry in manifest.files:
            _verify_file(directory, entry)
        listed = {MANIFEST, *(entry.name for entry in manifest.files)}
        for path in sorted(directory.iterdir()):
            if path.name not in listed:
                raise SeqgenError(
                    f"{path}: not listed in the manifest", remedy="remove it; a bundle holds no other files"
                )
        return Bundle(directory, manifest)

    def require(self, kind: type[M]) -> M:
        """The manifest of a bundle that has to be of this kind.

        Raises:
            SeqgenError: for a bundle of another kind, in one line.
        """
        if not isinstance(self.manifest, kind):
            raise SeqgenError(
                f"{self.directory}: a bundle of the kind '{self.manifest.kind}' ({self.manifest.does})",
                remedy=f"give one of the kind {named(kind)}",
            )
        return self.manifest

    def path(self, name: str) -> Path:
        """The path of one listed file.

        Raises:
            SeqgenError: where the bundle has no such file.
        """
        if name not in {entry.name for entry in self.manifest.files}:
            raise SeqgenError(f"{self.directory}: the bundle has no {name}", remedy="export it again")
        return self.directory / name

    def tensors(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """All tensors of one safetensors file, as numpy arrays."""
        try:
            with in_utf8(self.path(name)) as place:
                return load_file(place)
        except (SafetensorError, OSError, ValueError) as error:
            raise SeqgenError(f"{self.path(name)}: not a safetensors file ({error})", remedy="export again") from None

    def initial_state(self, batch: int) -> tuple[npt.NDArray[Any], ...]:
        """The state of ``batch`` fresh streams, in the order of ``manifest.state``, batch first.

        Raises:
            SeqgenError: where the stored state is not what the state table says.
        """
        stored = self.tensors("initial.safetensors")
        leaves = []
        for leaf in self.manifest.state:
            value = stored.get(leaf.name)
            if value is None or value.shape[1:] != leaf.shape or value.dtype != np.dtype(leaf.dtype):
                got = "nothing" if value is None else f"{value.dtype} {value.shape[1:]}"
                raise SeqgenError(
                    f"{self.directory}: initial state '{leaf.name}' is {got}, expected {leaf.dtype} {leaf.shape}",
                    remedy="export the bundle again",
                )
            leaves.append(np.repeat(value, batch, axis=0))
        return tuple(leaves)


def read_manifest(directory: Path) -> Manifest:
    """Manifest of a bundle, whose files are not looked at.

    Raises:
        SeqgenError: where there is none, or not as it was exported.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise SeqgenError(f"{directory}: no bundle here ({MANIFEST} is missing)", remedy="give an exported bundle")
    if (size := path.stat().st_size) > LARGEST_MANIFEST:
        raise SeqgenError(f"{path}: {size} bytes are too many for a manifest", remedy="copy or export the bundle again")
    data = path.read_bytes()
    try:
        plain = json.loads(data)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise SeqgenError(f"{path}: not valid JSON ({error})", remedy="copy or export the bundle again") from None
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        got = plain.get("format") if isinstance(plain, dict) else type(plain).__name__
        raise SeqgenError(f"{path}: bundle format {got!r}", remedy=f"this version reads format {FORMAT}")
    manifest = config.from_plain(plain, _kind(path, plain.get("kind")), source=str(path))
    if not _unchanged(manifest, data):
        raise SeqgenError(f"{path}: the manifest was changed after export", remedy="copy or export the bundle again")
    try:
        manifest.require_sense()
    except SeqgenError as error:
        raise SeqgenError(f"{path}: {error.problem}", remedy=error.remedy) from None
    return manifest


def _kind(path: Path, name: object) -> type[Manifest]:
    """The class of a kind's manifests.

    Raises:
        SeqgenError: for a kind that this version does not know, with those that it does.
    """
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise SeqgenError(f"{path}: unknown kind of bundle {name!r}", remedy=f"this version reads {', '.join(KINDS)}")
    return kind


def _unchanged(manifest: Manifest, data: bytes) -> bool:
    try:
        return _canonical(manifest) == data and _sign(manifest).digest == manifest.digest
    except UnicodeEncodeError:  # half a pair of surrogates, which no export writes
        return False


def _verify_file(directory: Path, entry: FileEntry) -> None:
    path = directory / entry.name
    if not _NAME.fullmatch(entry.name) or path.is_symlink():
        raise SeqgenError(f"{directory}: file name {entry.name!r} is not allowed", remedy="export the bundle again")
    if not path.is_file():
        raise SeqgenError(f"{path}: missing", remedy="copy or export the bundle again")
    size = path.stat().st_size
    if size != entry.size or size > LARGEST:
        raise SeqgenError(f"{path}: {size} bytes, the manifest says {entry.size}", remedy="copy the bundle again")
    found = sha256(path)
    if found != entry.sha256:
        raise SeqgenError(
            f"{path}: sha256 {found[:12]}… does not match the manifest's {entry.sha256[:12]}…",
            remedy="the file was damaged or changed; copy or export the bundle again",
        )


def write(directory: Path, manifest: Manifest, fill: Callable[[Path], None]) -> Bundle:
    """Make a bundle: ``fill`` writes the files, then they are hashed, signed and moved into place at once.

    An existing bundle is replaced only when the new one is complete; anything else in its place is refused.

    Raises:
        SeqgenError: where ``directory`` is something other than a bundle, or cannot be written.
    """
    try:
        with replacing_folder(directory, kind="a bundle", may_replace=is_bundle) as work:
            fill(work)
            entries = tuple(FileEntry(p.name, sha256(p), p.stat().st_size) for p in sorted(work.iterdir()))
            (work / MANIFEST).write_bytes(_canonical(_sign(replace(manifest, files=entries))))
    except SafetensorError as error:
        raise SeqgenError(f"cannot write {directory}: {error}", remedy="free some space") from None
    return Bundle.open(directory)
