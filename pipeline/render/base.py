"""Base transforms as pixels: a box out of each source picture, padded with zeros, resized, mirrored."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.plan.base import BasePlan
from pipeline.render.jit import kernel, read_only
from pipeline.sources.source import ArraySource, Source

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


@kernel
def _crop_batch(pictures: U8, indices: I64, tops: I32, lefts: I32, flips: Bool, out: U8) -> None:
    """Copy an S×S box of pictures[indices[i]] to out[i], zero where it leaves the picture, then mirror it."""
    height, width, size = pictures.shape[1], pictures.shape[2], out.shape[1]
    for i in range(len(indices)):
        source, box = pictures[indices[i]].reshape(-1), out[i].reshape(-1)
        top, left = tops[i], lefts[i]
        first_row, last_row = max(0, -top), min(size, height - top)
        first, last = max(0, -left), min(size, width - left)
        if first > 0 or last < size or first_row > 0 or last_row < size:
            box[:] = 0
        num_bytes = 3 * (last - first)
        for row in range(first_row, last_row):
            start = 3 * ((top + row) * width + left + first)
            if flips[i]:
                end = 3 * (row * size + size - first) - 3
                for j in range(0, num_bytes, 3):
                    box[np.uint64(end - j)] = source[np.uint64(start + j)]
                    box[np.uint64(end - j + 1)] = source[np.uint64(start + j + 1)]
                    box[np.uint64(end - j + 2)] = source[np.uint64(start + j + 2)]
            else:
                begin = 3 * (row * size + first)
                for j in range(num_bytes):
                    box[np.uint64(begin + j)] = source[np.uint64(start + j)]


def render_bases(plan: BasePlan, indices: I64, source: Source, size: int) -> U8:
    """Return the n pictures after the base transform, uint8 [n, size, size, 3].

    Boxes of another size are resized with Pillow's antialiased bilinear filter, as torchvision does.
    """
    out = np.empty((len(indices), size, size, 3), np.uint8)
    resized = (plan.crop_h != size) | (plan.crop_w != size)
    if isinstance(source, ArraySource) and not resized.any():
        boxes = source.pixels, indices, plan.crop_y, plan.crop_x, plan.flip
        arguments = [*map(read_only, boxes), out]
        _crop_batch(*arguments)
        return out
    nought = np.zeros(1, np.int64)
    for i, index in enumerate(indices.tolist()):
        picture = source.read(index)
        if resized[i]:
            out[i] = _resized_box(plan, i, picture, size)
        else:
            row = slice(i, i + 1)
            boxes = picture[None], nought, plan.crop_y[row], plan.crop_x[row], plan.flip[row]
            arguments = [*map(read_only, boxes), out[row]]
            _crop_batch(*arguments)
    return out


def _resized_box(plan: BasePlan, row: int, picture: U8, size: int) -> U8:
    top, left = int(plan.crop_y[row]), int(plan.crop_x[row])
    box = picture[top : top + int(plan.crop_h[row]), left : left + int(plan.crop_w[row])]
    resized = np.asarray(Image.fromarray(box).resize((size, size), Image.Resampling.BILINEAR))
    return resized[:, ::-1] if plan.flip[row] else resized
