"""The one way pixel kernels are compiled.

No fast-math and no parallel loops: LLVM then keeps the order of every IEEE operation and fuses none, so an
AVX2 and an AVX-512 host of one cluster compute the same bytes.

In inner loops an index is made np.uint64, which spares the test for a negative one, and rows are addressed by
an offset: a slice of an array costs as much as copying a hundred bytes.

Compiled code is cached on disk. Numba checks a cached kernel against its own file alone, not against those
whose kernels it calls, so ours live in a folder named by the source of all of them: an edited or upgraded
package never runs an old kernel. Where that source lies does not matter: Ray unpacks the code of a job at a
new path for every change to any of its files. The folder is that of one kind of processor too: of two hosts
that share a home and save a kernel at once, numba would let one's machine code pass for the other's.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

import llvmlite.binding
import numba
import numpy as np

from pipeline.cache import cache_folder
from pipeline.errors import DreamshardsError

F = TypeVar("F", bound=Callable[..., object])


def _cache_folder() -> Path:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        content = path.read_bytes()
        if b"pipeline.render.jit import" in content or path.parent == Path(__file__).parent:
            digest.update(content)
    digest.update(f"{numba.__version__} {_processor()}".encode())
    named = numba.config.CACHE_DIR
    return (Path(named) if named else cache_folder("kernels")) / digest.hexdigest()[:16]


def _processor() -> tuple[str, str]:
    """Return the name and the features of the processor that kernels are compiled for."""
    name, features = numba.config.CPU_NAME, numba.config.CPU_FEATURES
    return (
        llvmlite.binding.get_host_cpu_name() if name is None else name,
        llvmlite.binding.get_host_cpu_features().flatten() if features is None else features,
    )


_CACHE_FOLDER = _cache_folder()


@cache
def _sha256(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


class KernelLocator:
    """Tells numba where a kernel is cached: by its module and line, in the folder named by all sources."""

    def __init__(self, function: FunctionType, file: str) -> None:
        self._folder, self._file = _CACHE_FOLDER / function.__module__, file
        self._line = function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, function: FunctionType, file: str) -> KernelLocator:
        """Return that of a function in a file."""
        return cls(function, file)

    def ensure_cache_path(self) -> None:
        """Make its folder.

        Raises:
            DreamshardsError: it cannot be made.
        """
        with _kept():
            self._folder.mkdir(parents=True, exist_ok=True)

    def get_cache_path(self) -> str:
        """Return its folder."""
        return str(self._folder)

    def get_source_stamp(self) -> str:
        """Return what differs when the file does."""
        return _sha256(self._file)

    def get_disambiguator(self) -> str:
        """Return what tells functions of one name apart."""
        return str(self._line)


def kernel(function: F) -> F:
    """Compile `function` on first use; it releases the GIL while it runs."""
    return _compiled(function, "never")


def inlined(function: F) -> F:
    """Compile a scalar helper into its callers, so that their loops vectorise."""
    return _compiled(function, "always")


def read_only(array: Any) -> Any:
    """Return a C-contiguous view that cannot be written to.

    Numba compiles a kernel once for arrays that can be written and again for those that cannot, which those
    mapped from files or shared by Ray are. Passing every input through here leaves one form.
    """
    flags = array.flags
    if flags.c_contiguous and not flags.writeable:
        return array
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def is_compiled(name: str) -> bool:
    """Tell whether `compile_once` has been through for `name` on this machine, in this version."""
    return (_CACHE_FOLDER / f"{name}.compiled").exists()


def compile_once(name: str, use: Callable[[], object]) -> None:
    """Call `use`, which runs kernels; of all processes of this machine one compiles, the others wait for it.

    Args:
        name: of the set of kernels that `use` runs.
        use: called once.

    Raises:
        DreamshardsError: compiled kernels cannot be kept where they should be.
    """
    if not is_compiled(name):
        with _kept():
            _CACHE_FOLDER.mkdir(parents=True, exist_ok=True)
            opened = (_CACHE_FOLDER / f"{name}.lock").open("a")
        with opened as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_compiled(name):
                use()
                (_CACHE_FOLDER / f"{name}.compiled").touch()
                return
    use()


@contextmanager
def _kept() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        variable = "NUMBA_CACHE_DIR" if numba.config.CACHE_DIR else "DREAMSHARDS_CACHE"
        raise DreamshardsError(
            f"cannot keep compiled kernels in {_CACHE_FOLDER}: {error.strerror or error}; "
            f"set {variable} to a folder that can be written"
        ) from error


def _compiled(function: F, inline: str) -> F:
    before = numba.config.CACHE_LOCATOR_CLASSES
    numba.config.CACHE_LOCATOR_CLASSES = f"{__name__}.KernelLocator"  # read when the decorator runs
    try:
        options = {"cache": True, "nogil": True, "error_model": "numpy", "inline": inline}
        return cast(F, numba.njit(**options)(function))
    finally:
        numba.config.CACHE_LOCATOR_CLASSES = before
