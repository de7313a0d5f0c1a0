#!/usr/bin/env python3
"""Make torchaudio importable in the virtual environment whose python runs this; ``make setup`` calls it last.

PyPI's torchaudio ships compiled extensions that link CUDA libraries. Beside a CPU-only torch they cannot be loaded and
``import torchaudio`` fails. torchaudio runs without them: its loader returns False when the files are absent. So when
the import fails for that reason, and only then, the files are moved to ``torchaudio/lib/disabled/``; if the import
still fails they are moved back and the first error is reported.

Example:
    $ .venv/bin/python tools/setup.py
    torchaudio: moved 3 compiled extensions to .../torchaudio/lib/disabled: they cannot be loaded beside this torch ...
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

# The last line of the traceback must be one of these ...
_ERRORS = re.compile(r"^(OSError|ImportError): ", re.MULTILINE)
# ... about a shared library that is absent, or that was built for another torch.
_LIBRARY = re.compile(
    r"torchaudio[/\\]lib[/\\]|libtorchaudio|_torchaudio|torchaudio_prefixctc|libcuda|libcudart|libnv"
    r"|undefined symbol|cannot open shared object file|Could not load this library|symbol not found",
    re.IGNORECASE,
)


def import_error(package: str) -> str:
    """The traceback of importing ``package`` in a fresh interpreter, or "" where that works."""
    done = subprocess.run([sys.executable, "-c", f"import {package}"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip() or f"python ended with status {done.returncode}")


def is_extension_failure(traceback: str) -> bool:
    """Whether the traceback says that torchaudio's compiled extension could not be loaded.

    Example:
        >>> is_extension_failure("OSError: Could not load this library: /x/torchaudio/lib/_torchaudio.abi3.so")
        True
        >>> is_extension_failure("ModuleNotFoundError: No module named 'numpy'")
        False
    """
    last = traceback.strip().splitlines()[-1] if traceback.strip() else ""
    return bool(_ERRORS.match(last)) and bool(_LIBRARY.search(last))


def package_folder(package: str) -> Path | None:
    """Where ``package`` is installed, found without importing it; None where it is not."""
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent if found is not None and found.origin else None


def move(files: list[Path], folder: Path) -> list[Path]:
    """Move files into a folder, replacing what has the same name there; returns their new paths."""
    folder.mkdir(exist_ok=True)
    return [file.replace(folder / file.name) for file in files]


def repair(package: Path, error: str) -> tuple[bool, str]:
    """Disable the compiled extensions under ``package``, or leave everything as it was.

    Returns:
        whether torchaudio now imports, and one line (or the original traceback) to show.
    """
    library = package / "lib"
    extensions = sorted(library.glob("*.so"))
    if not extensions:
        return False, error
    disabled = library / "disabled"
    moved = move(extensions, disabled)
    if import_error("torchaudio"):
        move(moved, library)
        if not any(disabled.iterdir()):
            disabled.rmdir()
        return False, error
    reason = error.splitlines()[-1]
    return True, (
        f"torchaudio: moved {len(moved)} compiled extensions to {disabled}: they cannot be loaded beside this torch "
        f"({reason}) and torchaudio works without them"
    )


def main() -> int:
    """Check, repair where that is the remedy, and say what was done; the exit status is 0 where torchaudio imports."""
    package = package_folder("torchaudio")
    if package is None:
        print("torchaudio: not installed in this environment; run `make setup`", file=sys.stderr)
        return 1
    error = import_error("torchaudio")
    if not error:
        print("torchaudio: imports")
        return 0
    done, message = repair(package, error) if is_extension_failure(error) else (False, error)
    print(message, file=sys.stdout if done else sys.stderr)
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
