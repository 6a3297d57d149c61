"""How commands that make things are run: the flags for it, and the executor that they ask for."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.arguments import positive
from pipeline.errors import UsageError
from pipeline.last_words import last_words

if TYPE_CHECKING:
    from pipeline.executor import Executor
    from pipeline.recipe import Recipe

_WORKER_BYTES = 768 << 20
"""What a worker takes beside the samples it holds: code, kernels, a chunk of pixels, a part on its way."""
_ENDED = (
    "dreamshards: error: this process was ended by a signal, by the system for want of memory, "
    "or by Ray when it lost its cluster"
)
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]i?B)?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where and how jobs run."""
    parser.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="of a running Ray cluster: auto, host:port or ray://host:port (default: start one here)",
    )
    parser.add_argument(
        "--ray-resources",
        type=_resource,
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=AMOUNT",
        help="what a task takes beside its CPU, such as spot=0.01 or memory=4GB",
    )
    parser.add_argument(
        "--ray-runtime-env",
        type=_runtime_env,
        metavar="FILE",
        help="YAML or JSON with Ray's runtime_env, which brings code and packages to the workers",
    )
    parser.add_argument("--inline", action="store_true", help="work in this process, without Ray")
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="tasks at once (default: every CPU)"
    )


@contextmanager
def executor(options: argparse.Namespace, recipe: Recipe | None = None) -> Iterator[Executor]:
    """Start the executor that the flags ask for; tasks of a recipe's build declare their memory.

    However this process ends meanwhile, a line says how to go on.

    Raises:
        UsageError: flags that do not go together.
        DreamshardsError: no cluster answers at the address.
    """
    from pipeline.executor import GO_ON

    with last_words(f"{_ENDED}; {GO_ON}"), _executor(options, recipe) as chosen:
        yield chosen


def _executor(options: argparse.Namespace, recipe: Recipe | None) -> Executor:
    from pipeline.executor import InlineExecutor, RayExecutor

    if options.inline:
        if options.ray_address or options.workers or options.ray_resources:
            raise UsageError("--inline works in one process; leave out --workers and --ray-…")
        return InlineExecutor()
    resources = dict(options.ray_resources)
    if (options.ray_address or os.environ.get("RAY_ADDRESS") or "local") == "local":
        if resources or options.ray_runtime_env:
            raise UsageError(
                "--ray-resources and --ray-runtime-env are for a running cluster: give --ray-address"
            )
    elif recipe is not None:
        resources = {"memory": _task_bytes(recipe), **resources}
    return RayExecutor(
        options.ray_address,
        options.workers,
        resources=resources,
        runtime_env=options.ray_runtime_env,
    )


def _task_bytes(recipe: Recipe) -> int:
    """Return the memory that a task of a build is reckoned to take: with `reuse` it holds whole shards."""
    from pipeline.sampling import sample_bytes, samples_per_shard

    held = recipe.reuse * samples_per_shard(recipe) * sample_bytes(recipe, 0)
    return _WORKER_BYTES + (held if recipe.reuse > 1 else 0)


def _resource(text: str) -> tuple[str, float]:
    name, separator, amount = text.partition("=")
    found = _AMOUNT.fullmatch(amount.strip())
    if not name or not separator or found is None or (found[2] and name != "memory"):
        raise argparse.ArgumentTypeError(
            f"got {text!r}; allowed: NAME=NUMBER of a custom resource, CPU=NUMBER, or memory=SIZE such as 4GB"
        )
    return name, float(found[1]) * _UNITS[found[2] or ""]


def _runtime_env(text: str) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(Path(text).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise argparse.ArgumentTypeError(f"{text}: {reason}") from error
    if not isinstance(content, dict) or not content:
        raise argparse.ArgumentTypeError(
            f"{text}: got {type(content).__name__}; allowed: the fields of Ray's runtime_env, "
            "such as working_dir, py_modules, pip, env_vars"
        )
    return content
