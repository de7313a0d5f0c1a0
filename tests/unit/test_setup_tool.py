"""tools/setup.py on made-up torchaudio packages: repaired for one reason only, otherwise left as it was."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

# A package that behaves as torchaudio does: it loads its extension where the file exists and goes without otherwise.
LOADS_EXTENSION = """
from pathlib import Path
{before}
library = Path(__file__).parent / "lib" / "_torchaudio.abi3.so"
if library.exists():
    raise {error}
"""
LINKS_CUDA = 'OSError(f"Could not load this library: {library}")'
LOST_SYMBOL = 'ImportError(f"{library}: undefined symbol: _ZN3c10")'


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder ``torchaudio`` with two compiled extensions, found before the real one."""
    folder = tmp_path / "torchaudio"
    (folder / "lib").mkdir(parents=True)
    for name in ("_torchaudio.abi3.so", "libtorchaudio.abi3.so"):
        (folder / "lib" / name).write_bytes(name.encode())
    return folder


def write_init(package: Path, error: str, before: str = "") -> None:
    (package / "__init__.py").write_text(LOADS_EXTENSION.format(error=error, before=before))


def run_tool(repository: Path, package: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(repository / "tools" / "setup.py")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def library_files(package: Path) -> list[str]:
    library = package / "lib"
    return sorted(path.relative_to(library).as_posix() for path in library.rglob("*") if path.is_file())


INTACT = ["_torchaudio.abi3.so", "libtorchaudio.abi3.so"]
DISABLED = [f"disabled/{name}" for name in INTACT]


@pytest.mark.parametrize("error", [LINKS_CUDA, LOST_SYMBOL])
def test_extension_that_cannot_be_loaded_is_moved_away(repository: Path, package: Path, error: str) -> None:
    write_init(package, error)
    done = run_tool(repository, package)
    assert done.returncode == 0, done.stderr
    assert library_files(package) == DISABLED
    assert len(done.stdout.splitlines()) == 1
    assert "moved 2 compiled extensions" in done.stdout
    assert "_torchaudio.abi3.so" in done.stdout, "the reason is named"
    assert (package / "lib" / "disabled" / INTACT[0]).read_bytes() == INTACT[0].encode()


def test_second_run_changes_nothing(repository: Path, package: Path) -> None:
    write_init(package, LINKS_CUDA)
    run_tool(repository, package)
    again = run_tool(repository, package)
    assert again.returncode == 0
    assert again.stdout.strip() == "torchaudio: imports"
    assert library_files(package) == DISABLED


def test_working_package_is_left_alone(repository: Path, package: Path) -> None:
    (package / "__init__.py").write_text("")
    done = run_tool(repository, package)
    assert done.returncode == 0
    assert library_files(package) == INTACT


# Moving the files would make each of these imports work, but it is not the remedy for what they report.
OTHER_ERRORS = [
    ('ModuleNotFoundError("No module named libtorchaudio")', "No module named libtorchaudio"),
    ('RuntimeError(f"Could not load this library: {library}")', "RuntimeError: Could not load"),
    ("OSError('no space left on device')", "no space left on device"),
]


@pytest.mark.parametrize(("error", "reason"), OTHER_ERRORS)
def test_other_failures_are_reported_and_nothing_moves(
    repository: Path, package: Path, error: str, reason: str
) -> None:
    write_init(package, error)
    done = run_tool(repository, package)
    assert done.returncode == 1
    assert reason in done.stderr
    assert "moved" not in done.stdout
    assert library_files(package) == INTACT


def test_restores_the_files_where_moving_them_does_not_help(repository: Path, package: Path) -> None:
    write_init(package, LINKS_CUDA)
    with (package / "__init__.py").open("a") as file:
        file.write('raise ValueError("broken in another way")\n')
    done = run_tool(repository, package)
    assert done.returncode == 1
    assert "Could not load this library" in done.stderr, "the original error, not the second one"
    assert "broken in another way" not in done.stderr
    assert library_files(package) == INTACT
    assert not (package / "lib" / "disabled").exists()


def test_library_missing_from_torch_itself_moves_nothing(repository: Path, package: Path) -> None:
    (package.parent / "broken_torch.py").write_text(
        'raise ImportError("libcudart.so.13: cannot open shared object file: No such file or directory")\n'
    )
    write_init(package, LINKS_CUDA, "import broken_torch")
    done = run_tool(repository, package)
    assert done.returncode == 1
    assert "libcudart.so.13" in done.stderr
    assert library_files(package) == INTACT


def test_torchaudio_of_this_environment_imports() -> None:
    """What `make setup` promises: the real package, beside the real torch."""
    done = subprocess.run([sys.executable, "-c", "import torchaudio"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"run {sys.executable} tools/setup.py\n{done.stderr}"


@pytest.fixture
def tool(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_tool", repository / "tools" / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_missing_package_is_said(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "package_folder", lambda package: None)
    assert tool.main() == 1
    assert "make setup" in capsys.readouterr().err
