"""Another processor, as far as compiled kernels can tell: plain x86-64, without AVX."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def without_avx(script: str, folder: Path) -> list[str]:
    """Run a program from the project's root, kernels compiled anew in `folder`; return its words."""
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **plain, "NUMBA_CACHE_DIR": str(folder / "kernels")},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
