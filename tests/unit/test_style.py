"""tools/style.py on small made-up repositories: each rule fires on its breach and stays quiet beside it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

PYPROJECT = """
[tool.seqgen]
torch-free = ["seqgen/noise.py", "seqgen/runtime/*.py"]
torch-free-except = ["seqgen/runtime/torch.py"]
"""
FUNCTION = "def long(a):\n{docstring}" + "{body}"


@pytest.fixture(scope="module")
def style(repository: Path) -> Iterator[ModuleType]:
    """tools/style.py as a module; tools is no package."""
    spec = importlib.util.spec_from_file_location("style_tool", repository / "tools" / "style.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


class Checkout:
    """A git repository in a temporary folder that the checker is run over."""

    def __init__(self, root: Path, style: ModuleType) -> None:
        self.root = root
        self.style = style
        subprocess.run(["git", "init", "-q", str(root)], check=True)
        self.write("pyproject.toml", PYPROJECT)

    def write(self, path: str, text: str, *, executable: bool = False) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        target.chmod(0o755 if executable else 0o644)

    def run(self, *options: str) -> int:
        return int(self.style.main(["--root", str(self.root), *options]))

    def findings(self) -> list[tuple[str, int, str, str]]:
        return [(item.path, item.line, item.level, item.message) for item in self.style.check_tree(self.root)]


@pytest.fixture
def checkout(tmp_path: Path, style: ModuleType) -> Checkout:
    return Checkout(tmp_path, style)


def lines(count: int, indent: str = "") -> str:
    return "".join(f"{indent}x{i} = {i}\n" for i in range(count))


BREACHES = [
    ("seqgen/a.py", lines(501), 1, "file has 501 lines"),
    ("seqgen/a.py", FUNCTION.format(docstring="", body=lines(60, "    ")), 1, "function 'long' has 61 lines"),
    ("seqgen/a.py", "def f(a, b, c, d, e, f, g): ...\n", 1, "7 positional parameters"),
    ("seqgen/a.py", "class C:\n    def f(self, a, b, c, d, e, f, g): ...\n", 2, "7 positional parameters"),
    ("seqgen/a.py", "class C:\n    @staticmethod\n    def f(a, b, c, d, e, f, g): ...\n", 3, "7 positional parameters"),
    ("seqgen/a.py", "x = 1\ndef f(a=[]): ...\n", 2, "mutable default"),
    ("seqgen/a.py", "def f(*, a=dict()): ...\n", 1, "mutable default"),
    ("seqgen/a.py", "f = lambda a={}: a\n", 1, "mutable default"),
    ("seqgen/a.py", "def f(a=collections.defaultdict(int)): ...\n", 1, "mutable default"),
    ("seqgen/a.py", "def f():\n    print(1)\n", 2, "print()"),
    ("serving/a.py", "print(1)\n", 1, "print()"),
    ("serving/client/client.py", "print(1)\n", 1, "print()"),
    ("seqgen/a.py", "try:\n    f()\nexcept:\n    raise\n", 3, "bare except"),
    ("seqgen/a.py", "try:\n    f()\nexcept Exception:\n    pass\n", 3, "swallowed"),
    ("tests/unit/test_a.py", "def f(a, b, c, d, e, f, g): ...\n", 1, "7 positional parameters"),
    ("tools/a.py", "try:\n    f()\nexcept (OSError, BaseException) as e:\n    ...\n", 3, "swallowed"),
    ("seqgen/a.py", "x = 1  # TODO: later\n", 1, "'TODO'"),
    ("seqgen/a.py", "# fixme\n", 1, "'fixme'"),
    ("seqgen/a.py", "# good enough for now\n", 1, "'for now'"),
    ("seqgen/noise.py", "import torch.nn\n", 1, "imports torch.nn"),
    ("seqgen/noise.py", "def f():\n    from librosa import load\n", 2, "imports librosa"),
    ("seqgen/runtime/onnx.py", "import torch\n", 1, "imports torch"),
    ("seqgen/__init__.py", "__version__ = '1'\n", 1, "must be empty"),
    ("seqgen/utils.py", "", 1, "'utils'"),
    ("seqgen/common/a.py", "", 1, "'common'"),
    ("docs/Misc/a.md", "", 1, "'misc'"),
    ("seqgen/a.py", "def (:\n", 1, "does not parse"),
    ("egs/x/y/run.sh", "#!/bin/sh\n", 1, "not executable"),
]


@pytest.mark.parametrize(("path", "text", "line", "message"), BREACHES)
def test_breach_is_found_where_it_is(
    checkout: Checkout, path: str, text: str, line: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout.write(path, text)
    found = checkout.findings()
    assert [(item[0], item[1], item[2]) for item in found] == [(path, line, "failure")]
    assert message in found[0][3]
    assert checkout.run() == 1
    assert capsys.readouterr().out.startswith(f"{path}:{line}: ")


ALLOWED = [
    ("seqgen/a.py", lines(350)),
    ("seqgen/a.py", FUNCTION.format(docstring="", body=lines(39, "    "))),
    ("seqgen/a.py", FUNCTION.format(docstring='    """One.' + "\n\n" * 40 + '    """\n', body=lines(39, "    "))),
    ("seqgen/a.py", "class C:\n    def f(self, a, b, c, d, e, f, *, g=None, h=()): ...\n"),
    ("seqgen/a.py", "def f(a=frozenset(), b=Settings()): ...\n"),
    ("seqgen/cli/main.py", "print(1)\n"),
    ("serving/cli/serve.py", "print(1)\n"),
    ("tests/unit/test_a.py", "print(1)\n"),
    ("tests/unit/test_a.py", "def test_f(a, b, c, d, e, f, g): ...\n"),
    ("seqgen/a.py", "try:\n    f()\nexcept OSError:\n    pass\n"),
    ("seqgen/a.py", "try:\n    f()\nexcept Exception as error:\n    report(error)\n"),
    ("seqgen/a.py", "text = 'TODO'  # a todos list\n"),
    ("seqgen/noise.py", "import torchless\nfrom . import torch\n"),
    ("seqgen/runtime/torch.py", "import torch\n"),
    ("seqgen/nets/a.py", "import torch\n"),
    ("seqgen/__init__.py", ""),
    ("seqgen/utilisation.py", ""),
]


@pytest.mark.parametrize(("path", "text"), ALLOWED)
def test_neighbour_of_a_breach_is_allowed(checkout: Checkout, path: str, text: str) -> None:
    checkout.write(path, text)
    assert checkout.findings() == []
    assert checkout.run() == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lines(351), "file has 351 lines"),
        (FUNCTION.format(docstring="", body=lines(40, "    ")), "function 'long' has 41 lines"),
        (FUNCTION.format(docstring="", body=lines(59, "    ")), "function 'long' has 60 lines"),
    ],
)
def test_between_aim_and_limit_is_a_warning(
    checkout: Checkout, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout.write("seqgen/a.py", text)
    assert checkout.run() == 0
    assert f"seqgen/a.py:1: warning: {message}" in capsys.readouterr().out


def test_recipe_length(checkout: Checkout) -> None:
    checkout.write("egs/x/y/run.sh", "true\n" * 41, executable=True)
    checkout.write("egs/x/prepare.sh", "true\n" * 41, executable=True)
    found = [(item[0], item[3]) for item in checkout.findings()]
    assert found == [("egs/x/y/run.sh", "recipe has 41 lines (at most 40)")]
    checkout.write("egs/x/y/run.sh", "true\n" * 40, executable=True)
    assert checkout.findings() == []


def test_ignored_files_are_not_checked_but_untracked_and_tracked_are(checkout: Checkout) -> None:
    checkout.write(".gitignore", "exp/\n")
    checkout.write("exp/utils.py", "")
    checkout.write("seqgen/misc.py", "")
    checkout.write("seqgen/aux.py", "")
    subprocess.run(["git", "-C", str(checkout.root), "add", "seqgen/misc.py"], check=True)
    assert [item[0] for item in checkout.findings()] == ["seqgen/aux.py", "seqgen/misc.py"]


def test_tree_that_is_no_checkout_is_walked(checkout: Checkout) -> None:
    (checkout.root / ".git").rename(checkout.root / "was_git")
    checkout.write(".venv/lib/utils.py", "")
    checkout.write("seqgen/utils.py", "")
    assert [item[0] for item in checkout.findings()] == ["seqgen/utils.py"]


def test_torch_free_list(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("noise.py", "runtime/onnx.py", "runtime/torch.py", "nets/gru.py"):
        checkout.write(f"seqgen/{name}", "")
    assert checkout.run("--torch-free") == 0
    assert capsys.readouterr().out.split() == ["seqgen/noise.py", "seqgen/runtime/onnx.py"]


def test_run_as_a_program(checkout: Checkout, repository: Path) -> None:
    checkout.write("seqgen/utils.py", "")
    command = [sys.executable, str(repository / "tools" / "style.py"), "--root", str(checkout.root), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert [(item["path"], item["line"], item["level"]) for item in json.loads(done.stdout)] == [
        ("seqgen/utils.py", 1, "failure")
    ]
