"""The CMake presets: what they hand to the compiler and to Android's tool-chain file, which need not be here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

# Stands in for the NDK's file: tells what it was given, and stops before a compiler is looked for.
TOOLCHAIN = 'message(FATAL_ERROR "given: ${ANDROID_ABI} ${ANDROID_PLATFORM} ${ANDROID_STL}")\n'


@pytest.fixture
def native(repository: Path) -> Path:
    if shutil.which("cmake") is None:
        pytest.skip("no cmake on the path")
    version = re.search(r"(\d+)\.(\d+)", subprocess.check_output(["cmake", "--version"], text=True))
    assert version is not None
    if (int(version[1]), int(version[2])) < (3, 21):
        pytest.skip("presets of version 3 need CMake 3.21")
    return repository / "seqgen" / "engine"


def test_all_are_listed(native: Path) -> None:
    listed = subprocess.run(["cmake", "--list-presets"], cwd=native, capture_output=True, text=True, check=True).stdout
    assert re.findall(r'^  "([\w-]+)"', listed, re.MULTILINE) == ["host", "aarch64-linux", "android-arm64"]


def test_android_uses_the_file_of_the_ndk(native: Path, tmp_path: Path) -> None:
    place = tmp_path / "ndk" / "build" / "cmake"
    place.mkdir(parents=True)
    (place / "android.toolchain.cmake").write_text(TOOLCHAIN)
    command = ["cmake", "-S", str(native), "--preset", "android-arm64", "-B", str(tmp_path / "build")]
    done = subprocess.run(command, env=os.environ | {"ANDROID_NDK_HOME": str(tmp_path / "ndk")}, capture_output=True,
                          text=True, check=False, timeout=120)  # fmt: skip
    assert done.returncode != 0
    assert "given: arm64-v8a android-24 c++_static" in " ".join(done.stderr.split())
