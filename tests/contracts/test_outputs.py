"""Files are written by ``seqgen.files`` alone: whatever writes past it is named here, with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FUNCTIONS = frozenset({
    "os.replace", "os.rename", "os.renames", "os.link", "shutil.move", "shutil.copy", "shutil.copy2", "shutil.copyfile",
    "shutil.copytree", "np.save", "np.savez", "np.savez_compressed", "np.savetxt", "numpy.save", "torch.save",
    "soundfile.write", "json.dump", "pickle.dump",
})  # fmt: skip
METHODS = frozenset({"write_text", "write_bytes", "rename", "save_file", "tofile"})
MAKERS = frozenset({"save_file", "save_numpy"})
OF_A_FOLDER = "inside a folder that is moved to its place when it is whole"
CHECKPOINTS = "a checkpoint is a folder that is made beside its place and renamed; its files are synced one by one"
EXAMPLES = "small data that a test's own folder is filled with"
CACHE = "a cache of downloads, verified by digests"
DATA = "data directories and stores have a swap of their own, of several folders at once"
SCRATCH = "a scratch folder that nobody keeps"
ALLOWED = {
    "seqgen/files/": "the one place",
    "seqgen/bundle.py": OF_A_FOLDER,
    "seqgen/export/": OF_A_FOLDER,
    "seqgen/runtime/random_wavernn.py": OF_A_FOLDER,
    "seqgen/cli/random_voices.py": SCRATCH,
    "seqgen/cli/random_symbols.py": SCRATCH,
    "seqgen/train/checkpoint.py": CHECKPOINTS,
    "seqgen/train/verify.py": SCRATCH,
    "seqgen/train/report.py": "the record of a run grows line by line while it is trained, under the run's lock",
    "seqgen/tasks/text/task.py": EXAMPLES,
    "seqgen/text/prepare.py": OF_A_FOLDER,
    "seqgen/pictures/directory.py": "an archive into a file that `seqgen.files` opened",
    "seqgen/tasks/ratings/task.py": EXAMPLES,
    "seqgen/tasks/pairs/task.py": EXAMPLES,
    "seqgen/tasks/translation/task.py": EXAMPLES,
    "seqgen/data/": DATA,
    "seqgen/data/download.py": CACHE,
    "serving/voices/": DATA,
    "tools/bench_wavernn_lyra.py": SCRATCH,
    "tools/compression_table.py": "encoded audio in memory",
    "tools/gate.py": SCRATCH,
    "tools/watermark_figures.py": "encoded audio in memory",
}


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def writing(text: str) -> Iterator[tuple[int, str]]:
    """Line and name of each call that writes a file or moves one."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = called(node)
        last = name.rpartition(".")[2]
        if name in FUNCTIONS or name in MAKERS or (last in METHODS and "." in name):
            yield node.lineno, name
        elif last == "open" or name == "os.fdopen":
            modes = [*node.args[:2], *(word.value for word in node.keywords if word.arg == "mode")]
            given = [one.value for one in modes if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            if any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in given):
                yield node.lineno, name


def allowed(path: str) -> bool:
    return any(path == place or (place.endswith("/") and path.startswith(place)) for place in ALLOWED)


def sources(repository: Path) -> Iterator[tuple[str, str]]:
    for folder in ("seqgen", "serving", "tools"):
        for path in sorted((repository / folder).rglob("*.py")):
            yield path.relative_to(repository).as_posix(), path.read_text(encoding="utf-8")


def test_outputs_go_through_one_place(repository: Path) -> None:
    found = [
        f"{path}:{line}: {name} writes past seqgen.files; use it, or give a reason here"
        for path, text in sources(repository)
        if not allowed(path)
        for line, name in writing(text)
    ]
    assert not found, "\n" + "\n".join(found)


def test_every_exception_is_needed(repository: Path) -> None:
    writers = [path for path, text in sources(repository) if any(writing(text))]
    idle = [place for place in ALLOWED if not any(path == place or path.startswith(place) for path in writers)]
    assert idle == []


@pytest.mark.parametrize(
    "text",
    ["os.replace(a, b)", "path.rename(b)", "path.write_text('x')", "open(path, 'w')", "path.open('ab')",
     "np.save(p, x)", "open(path, mode='x')", "os.fdopen(h, 'wb')", "soundfile.write(p, x, 8000)", "save_file(t, p)"],
)  # fmt: skip
def test_writers_are_seen(text: str) -> None:
    assert list(writing(text))


@pytest.mark.parametrize(
    "text", ["open(path)", "path.open('rb')", "text.replace('a', 'b')", "replace(run, name='x')", "write_text(p, 'x')"]
)
def test_readers_are_not_taken_for_writers(text: str) -> None:
    assert not list(writing(text))
