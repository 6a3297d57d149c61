"""Reading CIFAR's pickle files without running what a pickle can run.

A pickle is a program. This one may name five globals, those that the official files hold, and each
stands for a plain holder of ours: not even numpy's own reconstruction runs.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import DreamshardsError
from pipeline.store import Store, StoreError


class PickledArray:
    """What the file says of one numpy array; `to_numpy` checks it."""

    def __init__(self, *_arguments: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def to_numpy(self) -> npt.NDArray[np.uint8]:
        """Return the array, uint8 of any shape.

        Raises:
            ValueError: it is damaged or not uint8.
        """
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            raise ValueError("an array without content")
        _version, shape, dtype, fortran, raw = self.state
        if not isinstance(dtype, _PickledDtype) or dtype.name not in ("u1", b"u1"):
            name = getattr(dtype, "name", dtype)
            raise ValueError(f"an array of dtype {_text(name)}; allowed: uint8 (u1)")
        if not isinstance(shape, tuple) or not all(type(size) is int for size in shape):
            raise ValueError("an array without a shape")
        if not isinstance(raw, bytes):
            raise ValueError("an array without bytes")
        return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


class _PickledDtype:
    def __init__(self, name: object = None, *_arguments: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        """Ignore byte order and the like: the only dtype accepted has none."""


def _encode(text: object, codec: object = None) -> bytes:
    """Stand in for `_codecs.encode`: protocol 2 of Python 3 writes bytes as text and this call."""
    if not isinstance(text, str) or codec not in ("latin1", b"latin1"):
        raise _RefusedError(f"_codecs.encode with codec {codec!r} (allowed: 'latin1')")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): _PickledDtype,
    ("numpy.core.multiarray", "_reconstruct"): PickledArray,
    ("numpy._core.multiarray", "_reconstruct"): PickledArray,
    ("_codecs", "encode"): _encode,
}


class _RefusedError(Exception):
    """The pickle asks for something that no CIFAR file needs."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _RefusedError(f"{module}.{name}") from None


def _check_memo(data: bytes) -> None:
    """Refuse places of the memo past the file's length: the unpickler would make room for all before them."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise _RefusedError(f"place {argument} of the memo")


def load_pickle(store: Store, name: str) -> dict[str, Any]:
    """Return a CIFAR file's dictionary: keys str, arrays `PickledArray`, other text as stored.

    Both the official files of Python 2 and rewritten ones of Python 3 load.

    Raises:
        DreamshardsError: not to be read, damaged, or naming a global that CIFAR files do not hold.
    """
    path = store.address(name)
    try:
        data = store.read(name)
        _check_memo(data)
        content = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except _RefusedError as error:
        raise DreamshardsError(
            f"{path} asks for {error}, which no CIFAR file needs and which may be an attack; "
            "nothing of it was run. Fetch the file again from the official site"
        ) from error
    except StoreError as error:
        raise DreamshardsError(f"cannot read {path}: {error.reason}") from error
    except Exception as error:  # damaged pickles raise a dozen types
        reason = str(error) or type(error).__name__
        raise DreamshardsError(
            f"{path} is cut short or damaged: it does not unpickle ({reason}); fetch it again"
        ) from error
    if not isinstance(content, dict):
        raise DreamshardsError(
            f"{path} holds a {type(content).__name__}; allowed: the dictionary of a CIFAR file"
        )
    return {_text(key): value for key, value in content.items()}


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
