"""Vector arithmetic on padded feature rows, and fetching them ahead of time: the inner loops of every kernel.

numba has no way to tell LLVM that two arrays do not overlap, and a loop of 24 channels is too short for the check that
LLVM would make at run time: written as a plain loop, `sums[c] += w * rows[i, c]` becomes scalar code, four to seven
times slower. These intrinsics emit the vector instructions themselves, `LANES` channels at a time, on any processor.

Rows are those of C-contiguous (N, P) float32 arrays with P a multiple of `LANES`; indices are not checked.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from gsocc.kernels.arrays import LANES

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_INDEX = ir.IntType(64)
_intrinsic: Callable[[Callable[..., Any]], Callable[..., Any]] = intrinsic
"""Kernels call these functions without the first argument, which numba's annotations do not know."""

_FUSED = ("contract",)
"""Multiply and add may become one instruction, as in the `_FAST` of the kernels."""


def _row(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> tuple[Any, Any]:
    """Return a pointer to the first element of a row, and the length of rows."""
    fields = make_array(array_type)(context, builder, array)
    length = builder.extract_value(fields.shape, 1)
    return builder.gep(fields.data, [builder.mul(index, length)]), length


def _blocks(builder: Any, length: Any) -> Any:
    """Loop over the first channel of each block of `LANES`."""
    return cgutils.for_range_slice(builder, ir.Constant(_INDEX, 0), length, ir.Constant(_INDEX, LANES), inc=True)


def _block(builder: Any, row: Any, channel: Any) -> Any:
    return builder.bitcast(builder.gep(row, [channel]), _VECTOR.as_pointer())


@_intrinsic
def add_row(typing: Any, out: Any, at: Any, weight: Any, rows: Any, index: Any) -> tuple[Any, Callable[..., Any]]:
    """Add ``weight * rows[index]`` to ``out[at]``."""
    signature = types.void(out, types.int64, types.float32, rows, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, length = _row(context, builder, signature.args[0], arguments[0], arguments[1])
        source, _ = _row(context, builder, signature.args[3], arguments[3], arguments[4])
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        first = builder.insert_element(undefined, arguments[2], ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        factor = builder.shuffle_vector(first, undefined, zeros)
        with _blocks(builder, length) as (channel, _):
            place = _block(builder, target, channel)
            addend = builder.load(_block(builder, source, channel), align=4)
            product = builder.fmul(factor, addend, flags=_FUSED)
            builder.store(builder.fadd(product, builder.load(place, align=4), flags=_FUSED), place, align=4)
        return context.get_dummy_value()

    return signature, generate


@_intrinsic
def dot_rows(typing: Any, a: Any, i: Any, b: Any, j: Any) -> tuple[Any, Callable[..., Any]]:
    """Return the scalar product of ``a[i]`` and ``b[j]``."""
    signature = types.float32(a, types.int64, b, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, length = _row(context, builder, signature.args[0], arguments[0], arguments[1])
        right, _ = _row(context, builder, signature.args[2], arguments[2], arguments[3])
        sums = cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [0.0] * LANES))
        with _blocks(builder, length) as (channel, _):
            one, other = (builder.load(_block(builder, row, channel), align=4) for row in (left, right))
            product = builder.fmul(one, other, flags=_FUSED)
            builder.store(builder.fadd(product, builder.load(sums), flags=_FUSED), sums)
        reduce_type = ir.FunctionType(ir.FloatType(), [ir.FloatType(), _VECTOR])
        reduce = cgutils.get_or_insert_function(builder.module, reduce_type, f"llvm.vector.reduce.fadd.v{LANES}f32")
        return builder.call(reduce, [ir.Constant(ir.FloatType(), -0.0), builder.load(sums)], fastmath=("reassoc",))

    return signature, generate


@_intrinsic
def fetch(typing: Any, array: Any, index: Any) -> tuple[Any, Callable[..., Any]]:
    """Ask for the cache line of a flat index of a C-contiguous array, and do not wait for it."""
    signature = types.void(array, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        fields = make_array(signature.args[0])(context, builder, arguments[0])
        prefetch_type = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        prefetch = cgutils.get_or_insert_function(builder.module, prefetch_type, "llvm.prefetch.p0")
        read, keep, data = (ir.Constant(word, value) for value in (0, 3, 1))
        builder.call(prefetch, [builder.bitcast(builder.gep(fields.data, [arguments[1]]), byte), read, keep, data])
        return context.get_dummy_value()

    return signature, generate
