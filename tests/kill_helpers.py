"""Builds in child processes that are killed: at a chosen durable step, or at any moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.conftest", "sklearn.datasets"])


def build_in_child(root: Path, overrides: Sequence[str], kill_at_step: int = 0) -> Any:
    """Start an inline build of the digits in a process of its own."""
    process = CONTEXT.Process(target=_build, args=(root, list(overrides), kill_at_step))
    process.start()
    return process


def _build(root: Path, overrides: list[str], kill_at_step: int) -> None:
    from pipeline.build import build
    from pipeline.executor import InlineExecutor
    from pipeline.recipe import load_recipe

    recipe = load_recipe("digits", overrides)
    if kill_at_step:
        _kill_at(kill_at_step)
    build(recipe, root, InlineExecutor())


def _kill_at(step: int) -> None:
    """Have this process kill itself just before its step-th fsync or rename."""
    steps = 0
    fsync, replace = os.fsync, Path.replace

    def counted() -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted_fsync(descriptor: int) -> None:
        counted()
        fsync(descriptor)

    def counted_replace(self: Path, target: Path) -> Path:
        counted()
        return replace(self, target)

    os.fsync = counted_fsync
    Path.replace = counted_replace  # type: ignore[method-assign]
