"""Memory as kernels cannot name it in Python: neighbours in one access at any index, and a hint to fetch.

Nothing is checked: an index outside of an array reads or writes what lies there; a hint never faults.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from pipeline.render.jit import inlined

_CACHE_LINE_BYTES = 64


def _address(context: Any, builder: Any, signature: Any, arguments: Any, bits: int) -> Any:
    """Return where an element of a flat array lies, as a pointer to `bits` bits."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    element = cgutils.gep(builder, array.data, arguments[1])
    return builder.bitcast(element, ir.IntType(bits).as_pointer())


def ask_for_line(builder: Any, pointer: Any) -> None:
    """Generate a request for the cache line at a pointer to bytes, which will be read soon."""
    flag, place = ir.IntType(32), ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [place, flag, flag, flag])
    function = builder.module.declare_intrinsic("llvm.prefetch", [place], kind)
    read, level_2, data = flag(0), flag(2), flag(1)
    builder.call(function, [pointer, read, level_2, data])


@intrinsic  # type: ignore[untyped-decorator]
def load_eight(typing_context: Any, flat: Any, index: Any) -> Any:
    """Return flat[index : index + 8], of uint8, as a uint64, the first in its lowest bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_address(context, builder, signature, arguments, 64), align=1)

    return types.uint64(flat, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def load_pair(typing_context: Any, flat: Any, index: Any) -> Any:
    """Return flat[index] and flat[index + 1], of uint32, as the low and high half of a uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_address(context, builder, signature, arguments, 64), align=4)

    return types.uint64(flat, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def store_pair(typing_context: Any, flat: Any, index: Any, pair: Any) -> Any:
    """Write what `load_pair` returns to flat[index] and flat[index + 1]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _address(context, builder, signature, arguments, 64)
        builder.store(arguments[2], place, align=4)
        return context.get_dummy_value()

    return types.void(flat, types.intp, types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _fetch(typing_context: Any, flat: Any, index: Any) -> Any:
    """Ask for the cache line of flat[index]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        ask_for_line(builder, _address(context, builder, signature, arguments, 8))
        return context.get_dummy_value()

    return types.void(flat, types.intp), generate


@inlined
def fetch_ahead(flat: Any, start: int, stop: int) -> None:
    """Ask for bytes [start, stop) of a flat uint8 array, which will be read soon."""
    for place in range(start, stop, _CACHE_LINE_BYTES):
        _fetch(flat, place)
