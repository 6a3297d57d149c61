"""Another processor, as far as compiled kernels can tell: plain x86-64, without AVX."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def without_avx(script: str, *arguments: str) -> list[str]:
    """Run a program from the project's root on that processor; return its words.

    Its kernels are cached too, in a folder of their own.
    """
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, **plain},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
