"""A bundle proves itself: any flipped byte, missing file or foreign name is refused, and writing is all or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from seqgen import bundle
from seqgen.bundle import MANIFEST, Bundle
from seqgen.errors import SeqgenError
from seqgen.files import folders

FILES = {
    "config.yaml", "weights.safetensors", "initial.safetensors", "step.onnx", "loop.onnx", "golden.safetensors",
    "program.json",
}  # fmt: skip
Plain = dict[str, Any]


@pytest.fixture
def voice(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "voice"))


def canonical(plain: Plain) -> bytes:
    return (json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def resign(directory: Path, edit: Callable[[Plain], object]) -> None:
    """Change a manifest and sign it again, as somebody who knows the format could."""
    plain = json.loads((directory / MANIFEST).read_bytes())
    for entry in plain["files"]:
        data = (directory / entry["name"]).read_bytes()
        entry["sha256"], entry["size"] = hashlib.sha256(data).hexdigest(), len(data)
    edit(plain)
    plain["digest"] = ""
    plain["digest"] = hashlib.sha256(canonical(plain)).hexdigest()
    (directory / MANIFEST).write_bytes(canonical(plain))


def refused(directory: Path, match: str = ".") -> None:
    """One line that names the place and what to do."""
    with pytest.raises(SeqgenError, match=match) as caught:
        Bundle.open(directory)
    assert "\n" not in str(caught.value)
    assert str(directory) in str(caught.value)
    assert "; " in str(caught.value)


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_bundle_has_these_files_and_lists_each(tiny_bundle: Path) -> None:
    assert names(tiny_bundle) == {MANIFEST, *FILES}
    opened = Bundle.open(tiny_bundle)
    assert {entry.name for entry in opened.manifest.files} == FILES
    assert opened.path("loop.onnx") == tiny_bundle / "loop.onnx"
    with pytest.raises(SeqgenError, match=r"the bundle has no nothing\.bin"):
        opened.path("nothing.bin")


def test_signing_an_unchanged_manifest_changes_nothing(voice: Path, tiny_bundle: Path) -> None:
    """The canonical form and the digest are as documented, so the tests below change what they mean to."""
    resign(voice, lambda plain: None)
    assert contents(voice) == contents(tiny_bundle)


def test_flipped_bytes_of_the_manifest_are_refused(voice: Path) -> None:
    """Both ends whole, and every ninth byte between: names, numbers, punctuation, white space."""
    path = voice / MANIFEST
    data = path.read_bytes()
    for position in sorted({*range(40), *range(0, len(data), 9), *range(len(data) - 40, len(data))}):
        changed = bytearray(data)
        changed[position] ^= 1 << (position % 8)
        path.write_bytes(changed)
        refused(voice)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d + b"\n", lambda d: d[:-1], lambda d: b" " + d, lambda d: d.replace(b": ", b":", 1),
        lambda d: d.replace(b"\n ", b"\n\t", 1), lambda d: d.replace(b"\n", b"\r\n"), lambda d: b"\xef\xbb\xbf" + d,
        lambda d: d.replace(b'"name"', b'"name": "x",\n "name"', 1), lambda d: json.dumps(json.loads(d)).encode(),
        lambda d: d.replace(b'"licence": "', b'"licence": "\\ud800', 1),
        lambda d: b"", lambda d: d[: len(d) // 2], lambda d: b"[]\n", lambda d: b"\xff\xfe", lambda d: b"null",
    ],
)  # fmt: skip
def test_another_form_of_the_manifest_is_refused(voice: Path, change: Callable[[bytes], bytes]) -> None:
    path = voice / MANIFEST
    path.write_bytes(change(path.read_bytes()))
    refused(voice)


@pytest.mark.parametrize("name", sorted(FILES))
def test_flipped_bytes_of_a_file_are_refused(voice: Path, name: str) -> None:
    path = voice / name
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    inside = rng.integers(0, len(data), 12).tolist()
    for position in {0, 7, 8, len(data) // 2, len(data) - 1, *inside}:
        changed = bytearray(data)
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        refused(voice, rf"{name}: sha256 [0-9a-f]{{12}}… does not match")


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_renamed_longer_or_shorter_file_is_refused(voice: Path, name: str) -> None:
    path = voice / name
    data = path.read_bytes()
    path.rename(voice / "other.bin")
    refused(voice, f"{name}: missing")
    (voice / "other.bin").unlink()
    for changed in (data[:-1], data + b"\0", b""):
        path.write_bytes(changed)
        refused(voice, rf"{name}: {len(changed)} bytes, the manifest says {len(data)}")
    path.unlink()
    path.mkdir()
    refused(voice, f"{name}: missing")


def test_a_file_that_no_manifest_lists_is_refused(voice: Path) -> None:
    """Every byte of a bundle is covered; a stray file would be one that nothing vouches for."""
    (voice / "extra.bin").write_bytes(b"stray")
    refused(voice, r"extra\.bin")


def test_swapped_files_are_refused(voice: Path) -> None:
    (voice / "step.onnx").rename(voice / "x")
    (voice / "loop.onnx").rename(voice / "step.onnx")
    (voice / "x").rename(voice / "loop.onnx")
    refused(voice, "onnx")


@pytest.mark.parametrize("place", ["missing", "empty", "file"])
def test_what_is_no_bundle_is_refused(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    if place == "empty":
        path.mkdir()
    if place == "file":
        path.write_text("text")
    refused(path, r"no bundle here \(manifest\.json is missing\)")


@pytest.mark.parametrize(
    "name",
    ["../outside", "..", ".", "", ".hidden", "a/b", "sub\\x", "/etc/hostname", "x\0y", "x\ny", "-o", "ä", "n" * 101],
)
def test_names_that_lead_elsewhere_are_refused(voice: Path, name: str) -> None:
    """Even where a file of the right hash lies there."""
    data = (voice / "config.yaml").read_bytes()
    (voice.parent / "outside").write_bytes(data)
    (voice / "a").mkdir()
    (voice / "a" / "b").write_bytes(data)
    resign(voice, lambda plain: plain["files"][0].update(name=name))
    refused(voice, "is not allowed")


@pytest.mark.parametrize("target", ["inside", "outside"])
def test_links_are_refused(voice: Path, target: str) -> None:
    real = voice.parent / "real" if target == "outside" else voice / "real"
    (voice / "weights.safetensors").rename(real)
    (voice / "weights.safetensors").symlink_to(real)
    refused(voice, r"'weights\.safetensors' is not allowed")


def test_a_link_to_the_whole_bundle_is_fine(voice: Path) -> None:
    (voice.parent / "latest").symlink_to(voice)
    assert Bundle.open(voice.parent / "latest").manifest.name == "tiny"


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda p: p.update(format=2), "bundle format 2; this version reads format 1"),
        (lambda p: p.update(format="1"), "bundle format '1'"),
        (lambda p: p.pop("format"), "bundle format None"),
        (lambda p: p.update(format=True), "format|changed after export"),
        (lambda p: p.update(feature_signature="0" * 16), "feature signature 0{16} is not that of its parameters"),
        (lambda p: p["features"].update(hop=20), "feature signature [0-9a-f]{16} is not that of its parameters"),
        (lambda p: p["features"].update(hop=-1), "features"),
        (lambda p: p.update(colour="red"), "colour"),
        (lambda p: p.update(kind="oracle"), "kind of bundle 'oracle'; this version reads vocoder, voice, language"),
        (lambda p: p.update(kind=["vocoder"]), "unknown kind of bundle"),
        (lambda p: p.pop("kind"), "unknown kind of bundle None"),
        (lambda p: p.update(kind="language-model"), "unknown key"),
        (lambda p: p.pop("codec"), "codec"),
        (lambda p: p.update(sample_rate="8000"), "sample_rate"),
        *(
            (lambda p, key=key, value=value: p.update({key: value}), "do not fit each other")
            for key in ("symbols_per_sample", "uniforms_per_sample", "sample_rate", "lanes", "ahead")
            for value in (-1, 10**30)
        ),
        (lambda p: p.update(sample_rate=0), "do not fit each other"),
        (lambda p: p["spec"].update(up=0), "do not fit each other"),
        (lambda p: p["spec"].update(in_dim=10**30), "do not fit each other"),
        (lambda p: p["spec"].update(latency=10**30), "do not fit each other"),
        (lambda p: p["files"][0].update(size="1"), "size"),
        (lambda p: p["files"][0].update(size=-1), "the manifest says -1"),
        (lambda p: p["files"][0].update(sha256="0" * 64), "sha256"),
        (lambda p: p.update(files=[{"name": 3, "sha256": "", "size": 0}]), "name"),
    ],
)
def test_a_signed_manifest_without_sense_is_refused(voice: Path, edit: Callable[[Plain], object], match: str) -> None:
    resign(voice, edit)
    refused(voice, match)


@pytest.mark.parametrize("damage", ["shape", "dtype", "missing"])
def test_an_initial_state_that_is_not_the_state_table_is_refused(voice: Path, damage: str) -> None:
    path = voice / "initial.safetensors"
    state = load_file(path)
    name = "body.top"
    if damage == "missing":
        del state[name]
    else:
        state[name] = state[name][:, :-1].copy() if damage == "shape" else state[name].astype(np.float64)
    save_file(state, path)
    resign(voice, lambda plain: None)
    expected = {"shape": r"float32 \(7,\)", "dtype": r"float64 \(8,\)", "missing": "nothing"}[damage]
    with pytest.raises(SeqgenError, match=rf"initial state 'body\.top' is {expected}, expected float32 \(8,\)"):
        Bundle.open(voice).initial_state(2)


def test_fresh_streams_are_equal_rows_in_the_tables_order(tiny_bundle: Path) -> None:
    opened = Bundle.open(tiny_bundle)
    state = opened.initial_state(5)
    assert len(state) == len(opened.manifest.state)
    for leaf, value in zip(opened.manifest.state, state, strict=True):
        assert value.shape == (5, *leaf.shape)
        assert value.dtype == leaf.dtype
        assert np.array_equal(value, np.repeat(value[:1], 5, axis=0))


# Writing


def copying(source: Path) -> Callable[[Path], None]:
    def fill(directory: Path) -> None:
        for name in FILES:
            shutil.copy(source / name, directory)

    return fill


def test_writing_again_replaces_the_bundle(voice: Path, tiny_bundle: Path) -> None:
    manifest = Bundle.open(tiny_bundle).manifest
    made = bundle.write(voice, manifest, copying(tiny_bundle))
    assert contents(voice) == contents(tiny_bundle)
    assert made.manifest == manifest
    assert names(voice.parent) == {"voice"}


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt("no"), OSError(28, "No space left on device")])
def test_a_fill_that_fails_leaves_what_was_there(
    tiny_bundle: Path, tmp_path: Path, error: BaseException, existing: bool
) -> None:
    target = tmp_path / "voice"
    if existing:
        shutil.copytree(tiny_bundle, target)

    def fill(directory: Path) -> None:
        (directory / "half").write_bytes(b"x")
        raise error

    expected: Any = (SeqgenError, "No space left on device") if isinstance(error, OSError) else (type(error), "no")
    with pytest.raises(expected[0], match=expected[1]):
        bundle.write(target, Bundle.open(tiny_bundle).manifest, fill)
    assert names(tmp_path) == ({"voice"} if existing else set())
    if existing:
        assert contents(target) == contents(tiny_bundle)


def test_a_move_that_fails_leaves_what_was_there(
    voice: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old bundle steps aside for the new one; when the new one cannot come, the old one must be back."""
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target) == voice and (Path(source) / "new").exists():
            raise OSError(5, "Input/output error")
        real(source, target)

    def fill(directory: Path) -> None:
        (directory / "new").write_bytes(b"x")

    monkeypatch.setattr(folders, "exchanged", lambda *_: False)  # a system where folders cannot change places
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(SeqgenError, match="cannot write"):
        bundle.write(voice, Bundle.open(tiny_bundle).manifest, fill)
    assert names(voice.parent) == {"voice"}
    assert contents(voice) == contents(tiny_bundle)


@pytest.mark.parametrize("place", ["folder", "file", "below-file"])
def test_a_place_that_is_taken_is_refused_and_kept(tiny_bundle: Path, tmp_path: Path, place: str) -> None:
    target = tmp_path / "taken"
    if place == "folder":
        target.mkdir()
        (target / "thesis.tex").write_text("years of work")
    else:
        target.write_text("years of work")
    where = target / "voice" if place == "below-file" else target
    with pytest.raises(SeqgenError, match="taken"):
        bundle.write(where, Bundle.open(tiny_bundle).manifest, copying(tiny_bundle))
    assert names(tmp_path) == {"taken"}
    assert (target / "thesis.tex" if place == "folder" else target).read_text() == "years of work"


def test_a_read_only_place_is_one_line(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the error that a read-only file system gives: permissions do not stop the root of a container."""

    def mkdtemp(**_: object) -> str:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    with pytest.raises(SeqgenError, match=r"cannot write .*voice: Read-only file system; choose a writable place"):
        bundle.write(tmp_path / "voice", Bundle.open(tiny_bundle).manifest, copying(tiny_bundle))
    assert names(tmp_path) == set()


@pytest.mark.parametrize("room", [100, 3000, 30000])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, room: int) -> None:
    """A limit on the size of files fails writes just where a full disk would, in every library that writes."""
    from tests.runtime.voices import export_tiny, tiny_run

    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(SeqgenError, match="cannot write"):
            export_tiny(tmp_path / "voice", tiny_run(hop=20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert names(tmp_path) == set()
