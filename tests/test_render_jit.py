"""Compiled kernels: found again wherever the code lies, and never one of other code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import ROOT

USE = (
    "import numpy as np; from pipeline.render.enhance import _fill_luma as fill\n"
    "grey = np.zeros(1, np.int32)\n"
    "fill(np.array([255, 0, 0], np.uint8), grey)\n"
    "counts = map(len, (fill.stats.cache_hits, fill.stats.cache_misses))\n"
    "print(fill.py_func.__code__.co_filename, *grey, *counts)"
)


@pytest.mark.slow
def test_kernels_are_compiled_once_for_one_source_wherever_it_lies(tmp_path: Path) -> None:
    def use(name: str, **processor: str) -> list[str]:
        """Run a kernel of one copy; return what it made, and how often it was loaded and compiled."""
        done = subprocess.run(
            [sys.executable, "-c", USE],
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "kernels")} | processor,
            cwd=tmp_path / name,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        file, *counts = done.stdout.split()
        assert file == str(tmp_path / name / "pipeline/render/enhance.py")
        return counts

    for name in ("first", "elsewhere", "changed", "helper"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "pipeline", tmp_path / name / "pipeline", ignore=ignored)
    (tmp_path / "elsewhere/pipeline/cli.py").open("a").write("# holds no kernel\n")
    (tmp_path / "helper/pipeline/render/affine.py").open("a").write("# of another kernel\n")
    changed = tmp_path / "changed/pipeline/render/enhance.py"
    source = changed.read_text()
    assert source.count("19595") == 1
    changed.write_text(source.replace("19595", "19000"))

    assert use("first") == ["76", "0", "1"]
    assert use("first") == ["76", "1", "0"]
    assert use("elsewhere") == ["76", "1", "0"]
    assert use("changed") == ["74", "0", "1"]
    assert use("helper") == ["76", "0", "1"]  # kernels call one another across files
    assert use("first", NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="") == ["76", "0", "1"]
    assert len(list((tmp_path / "kernels").iterdir())) == 4
    assert use("first") == ["76", "1", "0"]


@pytest.mark.parametrize("variable", ["NUMBA_CACHE_DIR", "DREAMSHARDS_CACHE"])
@pytest.mark.parametrize("use", [USE, "from pipeline.render import jit; jit.compile_once('x', id)"])
def test_a_cache_that_cannot_be_written_is_told(variable: str, use: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", use],
        env=os.environ | {"NUMBA_CACHE_DIR": "", variable: "/proc/none"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(
        r"DreamshardsError: cannot keep compiled kernels in /proc/none/\S+: No such file or directory; "
        rf"set {variable} to a folder that can be written$",
        done.stderr,
    )
