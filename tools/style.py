#!/usr/bin/env python3
"""The house rules that a machine can check, over the Python files that git tracks or would track.

One line per finding, ``path:line: message``; warnings are marked and do not fail; exit status 1 on failures.
Which modules must stay free of torch is read from ``[tool.seqgen]`` in pyproject.toml.

Example:
    $ python tools/style.py
    seqgen/nets/gru.py:12: warning: function 'step' has 44 lines (aim at 40)
    $ python tools/style.py --json
    $ mypy $(python tools/style.py --torch-free)
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

FILE_LINES, FILE_LIMIT = 350, 500
FUNCTION_LINES, FUNCTION_LIMIT = 40, 60
POSITIONAL_LIMIT = 6
RECIPE_LIMIT = 40
BANNED_NAMES = frozenset({"utils", "misc", "common", "aux", "helpers"})
MUTABLE_CALLS = frozenset({"list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict"})
MUTABLE_NODES = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
HEAVY = frozenset({"torch", "torchaudio", "librosa", "lightning_fabric"})
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b|\bfor now\b", re.IGNORECASE)
SKIPPED_FOLDERS = frozenset({"__pycache__", "build", "dist", "exp", "node_modules"})

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Finding:
    """One broken rule at one place; ``level`` is "failure" or "warning"."""

    path: str
    line: int
    level: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {'warning: ' if self.level == 'warning' else ''}{self.message}"


@dataclass(frozen=True)
class Source:
    """A parsed Python file and what the rules depend on; ``path`` is relative to the repository, with slashes."""

    path: str
    text: str
    tree: ast.Module
    torch_free: bool

    def failure(self, line: int, message: str) -> Finding:
        return Finding(self.path, line, "failure", message)

    def warning(self, line: int, message: str) -> Finding:
        return Finding(self.path, line, "warning", message)


def tracked_files(root: Path) -> list[str]:
    """Paths git tracks or would track, sorted; every file of the tree where it is not a git checkout (an archive)."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):
        listed = list(walk(root))
    return sorted({path for path in listed if path and (root / path).is_file()})


def walk(root: Path) -> Iterator[str]:
    """Every file under ``root`` outside hidden and built folders, relative and with slashes."""
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in SKIPPED_FOLDERS]
        yield from ((Path(folder) / name).relative_to(root).as_posix() for name in files)


def torch_free_modules(root: Path) -> list[str]:
    """The modules that ``[tool.seqgen] torch-free`` names, sorted, relative to ``root``."""
    table = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["seqgen"]
    named = {path.relative_to(root).as_posix() for pattern in table["torch-free"] for path in root.glob(pattern)}
    return sorted(named - set(table["torch-free-except"]))


def check_length(source: Source) -> Iterator[Finding]:
    """A file has at most 350 lines, and never more than 500."""
    lines = len(source.text.splitlines())
    if lines > FILE_LIMIT:
        yield source.failure(1, f"file has {lines} lines (at most {FILE_LIMIT}, aim at {FILE_LINES})")
    elif lines > FILE_LINES:
        yield source.warning(1, f"file has {lines} lines (aim at {FILE_LINES})")


def body_lines(node: Function) -> int:
    """Lines from ``def`` to the end, the docstring not counted: explaining costs nothing."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def functions(tree: ast.Module) -> Iterator[tuple[Function, bool]]:
    """Every function and whether it is a method that is given self or cls."""
    methods: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            methods.update(child for child in node.body if isinstance(child, Function))
        if isinstance(node, Function):
            static = any(isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in node.decorator_list)
            yield node, node in methods and not static


def is_test(path: str, node: Function) -> bool:
    """Whether pytest calls the function: by keyword, so its parameters are fixtures and have no position."""
    return path.startswith("tests/") and node.name.startswith("test_")


def check_functions(source: Source) -> Iterator[Finding]:
    """A function has at most 40 lines (never more than 60) and six positional parameters beside self."""
    for node, bound in functions(source.tree):
        lines = body_lines(node)
        if lines > FUNCTION_LIMIT:
            limits = f"at most {FUNCTION_LIMIT}, aim at {FUNCTION_LINES}"
            yield source.failure(node.lineno, f"function '{node.name}' has {lines} lines ({limits})")
        elif lines > FUNCTION_LINES:
            yield source.warning(node.lineno, f"function '{node.name}' has {lines} lines (aim at {FUNCTION_LINES})")
        positional = len(node.args.posonlyargs) + len(node.args.args) - bound
        if positional > POSITIONAL_LIMIT and not is_test(source.path, node):
            message = f"function '{node.name}' has {positional} positional parameters (at most {POSITIONAL_LIMIT})"
            yield source.failure(node.lineno, f"{message}; make the rest keyword-only")


def is_mutable(default: ast.expr | None) -> bool:
    """Whether a default value is one object that all calls would share and could change."""
    if isinstance(default, ast.Call):
        name = default.func.attr if isinstance(default.func, ast.Attribute) else getattr(default.func, "id", "")
        return name in MUTABLE_CALLS
    return isinstance(default, MUTABLE_NODES)


def check_defaults(source: Source) -> Iterator[Finding]:
    """No default argument is a list, dict or set."""
    for node in ast.walk(source.tree):
        if isinstance(node, Function | ast.Lambda):
            for default in (*node.args.defaults, *node.args.kw_defaults):
                if default is not None and is_mutable(default):
                    yield source.failure(default.lineno, "mutable default argument; use None or an immutable value")


def check_prints(source: Source) -> Iterator[Finding]:
    """Library code reports through return values, exceptions and callbacks; only the command lines print."""
    library = source.path.startswith(("seqgen/", "serving/"))
    if not library or source.path.startswith(("seqgen/cli/", "serving/cli/")):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield source.failure(node.lineno, "print() in library code; only seqgen/cli and serving/cli print")


def is_silent(body: list[ast.stmt]) -> bool:
    """Whether a handler does nothing at all with what it caught."""
    return all(
        isinstance(statement, ast.Pass | ast.Continue)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in body
    )


def check_handlers(source: Source) -> Iterator[Finding]:
    """No bare ``except:``, and nobody swallows every exception."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        everything = any(isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"} for kind in caught)
        if node.type is None:
            yield source.failure(node.lineno, "bare except; name the exceptions that are expected")
        elif everything and is_silent(node.body):
            yield source.failure(node.lineno, "every exception is swallowed; name the expected ones or report them")


def check_comments(source: Source) -> Iterator[Finding]:
    """Nothing is marked as unfinished."""
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT and (found := UNFINISHED.search(token.string)):
            yield source.failure(token.start[0], f"comment says '{found.group()}'; finish it or leave it out")


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every absolute import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, node.module or ""


def check_torch_free(source: Source) -> Iterator[Finding]:
    """The torch-free face imports no training library, not even late."""
    for line, name in imported(source.tree) if source.torch_free else ():
        if name.split(".")[0] in HEAVY:
            yield source.failure(line, f"imports {name} in a module that must run without it (pyproject, torch-free)")


def check_root_package(source: Source) -> Iterator[Finding]:
    """``import seqgen`` does nothing."""
    if source.path == "seqgen/__init__.py" and source.text.strip():
        yield source.failure(1, "seqgen/__init__.py must be empty")


CHECKS = (
    check_length,
    check_functions,
    check_defaults,
    check_prints,
    check_handlers,
    check_comments,
    check_torch_free,
    check_root_package,
)


def check_python(root: Path, path: str, torch_free: bool) -> Iterator[Finding]:
    """All rules over one Python file; a file that does not parse is one failure."""
    try:
        text = (root / path).read_text(encoding="utf-8")
        source = Source(path, text, ast.parse(text), torch_free)
    except (SyntaxError, UnicodeDecodeError) as error:
        yield Finding(path, getattr(error, "lineno", None) or 1, "failure", f"does not parse: {error}")
        return
    for check in CHECKS:
        yield from check(source)


def check_path(root: Path, path: str) -> Iterator[Finding]:
    """Names of files and folders; size and mode of recipe scripts."""
    for part in Path(path).parts:
        if (name := part.split(".")[0].lower()) in BANNED_NAMES:
            yield Finding(path, 1, "failure", f"'{name}' is no name for a file or folder; say what is in it")
    parts = path.split("/")
    if parts[0] != "egs" or not path.endswith(".sh"):
        return
    lines = len((root / path).read_text(encoding="utf-8").splitlines())
    if len(parts) == 4 and parts[3] == "run.sh" and lines > RECIPE_LIMIT:
        yield Finding(path, 1, "failure", f"recipe has {lines} lines (at most {RECIPE_LIMIT})")
    if not os.access(root / path, os.X_OK):
        yield Finding(path, 1, "failure", "recipe script is not executable; chmod +x")


def check_tree(root: Path) -> list[Finding]:
    """Every finding of a repository, in order of path and line."""
    free = set(torch_free_modules(root))
    findings: list[Finding] = []
    for path in tracked_files(root):
        findings.extend(check_path(root, path))
        if path.endswith(".py"):
            findings.extend(check_python(root, path, path in free))
    return sorted(findings, key=lambda finding: (finding.path, finding.line, finding.message))


def main(arguments: list[str] | None = None) -> int:
    """Print the findings; 1 where one of them is a failure."""
    parser = argparse.ArgumentParser(description="check the house rules", epilog="exit status: 0 clean, 1 failures")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent, help="repository to check")
    parser.add_argument("--json", action="store_true", help="print a JSON list of findings")
    parser.add_argument("--torch-free", action="store_true", help="list the modules that must run without torch")
    options = parser.parse_args(arguments)
    if options.torch_free:
        print("\n".join(torch_free_modules(options.root)))
        return 0
    findings = check_tree(options.root)
    failures = sum(finding.level == "failure" for finding in findings)
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        print("\n".join([*map(str, findings), f"style: {failures} failures, {len(findings) - failures} warnings"]))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
