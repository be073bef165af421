"""Vector arithmetic between one row and a list of rows: what a ray does with the voxels that it met.

Companion of `gsocc.kernels.rows`, and as little checked. A list is an int32 array of row indices and a float32 array
of as many numbers, of which the first `count` elements are used. Working on a whole list keeps the one row in
registers, where `add_row` would go through memory for every element.
"""

from collections.abc import Callable, Iterator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from gsocc.kernels.arrays import LANES

_INDEX = ir.IntType(64)
_FLOAT = ir.FloatType()
_intrinsic: Callable[[Callable[..., Any]], Callable[..., Any]] = intrinsic
"""Kernels call these functions without the first argument, which numba's annotations do not know."""

_FUSED = ("contract",)
_STRIPS = (4, 3, 2, 1)
"""Blocks of `LANES` channels that are kept in registers at once."""

_VECTOR = ir.VectorType(_FLOAT, LANES)


class _List:
    """The code of one intrinsic: a row, a list of rows, and loops over strips of channels and elements."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self.builder = builder
        self._arrays = {
            place: make_array(kind)(context, builder, value)
            for place, (kind, value) in enumerate(zip(signature.args, arguments, strict=True))
            if isinstance(kind, types.Array)
        }

    def element(self, place: int, index: Any) -> Any:
        """Return a pointer to an element of a one-dimensional argument."""
        return self.builder.gep(self._arrays[place].data, [index])

    def length(self, place: int) -> Any:
        """Return the length of the rows of a two-dimensional argument."""
        return self.builder.extract_value(self._arrays[place].shape, 1)

    def block(self, place: int, row: Any, channel: Any, number: int) -> Any:
        """Return a pointer to a block of `LANES` channels, the given number behind the channel, of a row."""
        offset = self.builder.add(self.builder.mul(row, self.length(place)), channel)
        offset = self.builder.add(offset, ir.Constant(_INDEX, number * LANES))
        return self.builder.bitcast(self.element(place, offset), _VECTOR.as_pointer())

    def load(self, place: int, row: Any, channel: Any, number: int) -> Any:
        """Return such a block."""
        return self.builder.load(self.block(place, row, channel, number), align=4)

    def index(self, place: int, element: Any) -> Any:
        """Return an int32 of a list as an index."""
        return self.builder.sext(self.builder.load(self.element(place, element)), _INDEX)

    def repeated(self, place: int, element: Any) -> Any:
        """Return a block that holds a float32 of a list in every lane."""
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        scalar = self.builder.load(self.element(place, element))
        first = self.builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return self.builder.shuffle_vector(first, undefined, zeros)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """Return a * b + c, which may become one instruction."""
        return self.builder.fadd(self.builder.fmul(a, b, flags=_FUSED), c, flags=_FUSED)

    def strips(self, length: Any) -> Iterator[tuple[Any, range]]:
        """Yield first channel and numbers of blocks, within loops that cut a row into the widest strips that fit."""
        builder = self.builder
        start = cgutils.alloca_once_value(builder, ir.Constant(_INDEX, 0))
        for blocks in _STRIPS:
            step = ir.Constant(_INDEX, blocks * LANES)
            head, body, done = (builder.append_basic_block(f"strip{blocks}.{name}") for name in ("", "body", "done"))
            builder.branch(head)
            builder.position_at_end(head)
            channel = builder.load(start)
            builder.cbranch(builder.icmp_signed("<=", builder.add(channel, step), length), body, done)
            builder.position_at_end(body)
            yield channel, range(blocks)
            builder.store(builder.add(channel, step), start)
            builder.branch(head)
            builder.position_at_end(done)


@_intrinsic
def sum_rows(
    typing: Any, out: Any, at: Any, weights: Any, rows: Any, indices: Any, count: Any
) -> tuple[Any, Callable[..., Any]]:
    """Write ``sum_e weights[e] rows[indices[e]]`` to ``out[at]``."""
    signature = types.void(out, types.int64, weights, rows, indices, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = _List(context, builder, signature, arguments)
        for channel, blocks in code.strips(code.length(3)):
            totals = [cgutils.alloca_once(builder, _VECTOR) for _ in blocks]
            for total in totals:
                builder.store(ir.Constant(_VECTOR, [0.0] * LANES), total)
            with cgutils.for_range(builder, arguments[5], intp=_INDEX) as loop:
                factor, row = code.repeated(2, loop.index), code.index(4, loop.index)
                for block, total in zip(blocks, totals, strict=True):
                    new = code.multiply_add(factor, code.load(3, row, channel, block), builder.load(total))
                    builder.store(new, total)
            for block, total in zip(blocks, totals, strict=True):
                builder.store(builder.load(total), code.block(0, arguments[1], channel, block), align=4)
        return context.get_dummy_value()

    return signature, generate


@_intrinsic
def dot_list(
    typing: Any, dots: Any, a: Any, at: Any, rows: Any, indices: Any, count: Any
) -> tuple[Any, Callable[..., Any]]:
    """Add the scalar products ``a[at] . rows[indices[e]]`` to ``dots[e]``."""
    signature = types.void(dots, a, types.int64, rows, indices, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = _List(context, builder, signature, arguments)
        reduce_type = ir.FunctionType(_FLOAT, [_FLOAT, _VECTOR])
        reduce = cgutils.get_or_insert_function(builder.module, reduce_type, f"llvm.vector.reduce.fadd.v{LANES}f32")
        for channel, blocks in code.strips(code.length(3)):
            ones = [code.load(1, arguments[2], channel, block) for block in blocks]
            with cgutils.for_range(builder, arguments[5], intp=_INDEX) as loop:
                row = code.index(4, loop.index)
                products = ir.Constant(_VECTOR, [0.0] * LANES)
                for block, one in zip(blocks, ones, strict=True):
                    products = code.multiply_add(one, code.load(3, row, channel, block), products)
                place = code.element(0, loop.index)
                builder.store(builder.call(reduce, [builder.load(place), products], fastmath=("reassoc",)), place)
        return context.get_dummy_value()

    return signature, generate


@_intrinsic
def add_to_rows(
    typing: Any, rows: Any, indices: Any, weights: Any, count: Any, a: Any, at: Any
) -> tuple[Any, Callable[..., Any]]:
    """Add ``weights[e] a[at]`` to ``rows[indices[e]]``."""
    signature = types.void(rows, indices, weights, types.int64, a, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = _List(context, builder, signature, arguments)
        for channel, blocks in code.strips(code.length(0)):
            ones = [code.load(4, arguments[5], channel, block) for block in blocks]
            with cgutils.for_range(builder, arguments[3], intp=_INDEX) as loop:
                factor, row = code.repeated(2, loop.index), code.index(1, loop.index)
                for block, one in zip(blocks, ones, strict=True):
                    new = code.multiply_add(factor, one, code.load(0, row, channel, block))
                    builder.store(new, code.block(0, row, channel, block), align=4)
        return context.get_dummy_value()

    return signature, generate
