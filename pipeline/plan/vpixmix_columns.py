"""V-PixMix decisions as manifest columns, and back without loss.

What is drawn once a clip are columns, as PixMix's. Of its one picture: mixing_picture (index), mixing_id,
mixing_y, mixing_x; of a zoom mixing_picture, mixing_id, zoom_phase, zoom_factor, zoom_direction ('in' or
'out'). Of the whole of PixMix start_op, start_level, start_negative. And rounds, whose weights a, b become
end_a, end_b at the last frame where they drift. What is drawn for each frame is in `frames`, a list of one
struct a frame with fields of the same names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.augmentation_sections import VPixMixConfig
from pipeline.plan.pixmix import F32, I8, Bool
from pipeline.plan.pixmix_columns import (
    PICTURE_FIELDS,
    START_FIELDS,
    Rounds,
    numbers,
    one_array,
    picture_columns,
    picture_from,
    plain,
    rounds_column,
    rounds_field,
    rounds_from,
    start_columns,
    start_from,
)
from pipeline.plan.vpixmix import INWARDS, OUTWARDS, VPixMixPlan, pixmix_constants

_DIRECTIONS = {INWARDS: "in", OUTWARDS: "out"}
_ENDS = ("end_a", "end_b")

ZOOM_FIELDS = (
    *PICTURE_FIELDS[:2],
    pa.field("zoom_phase", pa.float64()),
    pa.field("zoom_factor", pa.float64()),
    pa.field("zoom_direction", pa.string()),
)


def _picture_fields(config: VPixMixConfig) -> tuple[pa.Field, ...]:
    return ZOOM_FIELDS if config.picture == "zoom" else PICTURE_FIELDS


def _decision_fields(config: VPixMixConfig) -> tuple[pa.Field, ...]:
    starts = START_FIELDS if config.method == "pipeline" else ()
    return (*starts, rounds_field(*_later(config)))


def _later(config: VPixMixConfig) -> tuple[str, ...]:
    return _ENDS if config.draws == "smooth" else ()


def _by_frame(config: VPixMixConfig) -> tuple[pa.Field, ...]:
    """Return the fields of a frame's struct, perhaps none."""
    pictures = _picture_fields(config) if config.picture == "frame" else ()
    decisions = _decision_fields(config) if config.draws == "frame" else ()
    return (*pictures, *decisions)


def vpixmix_fields(config: VPixMixConfig) -> tuple[pa.Field, ...]:
    """Return the manifest's columns for a resolved section."""
    pictures = _picture_fields(config) if config.picture != "frame" else ()
    decisions = _decision_fields(config) if config.draws != "frame" else ()
    frames = _by_frame(config)
    if not frames:
        return (*pictures, *decisions)
    element = pa.field("element", pa.struct(frames), nullable=False)
    return (*pictures, *decisions, pa.field("frames", pa.list_(element), nullable=False))


def vpixmix_columns(
    plan: VPixMixPlan, config: VPixMixConfig, picture_ids: pa.StringArray
) -> list[pa.Array]:
    """Return one array for each of `vpixmix_fields`, of the plan's length."""
    pictures = _picture_columns(plan, config, picture_ids)
    decisions = _decision_columns(plan, config)
    of_frames = []
    if config.picture == "frame":
        of_frames, pictures = pictures, []
    if config.draws == "frame":
        of_frames, decisions = [*of_frames, *decisions], []
    columns = [*pictures, *decisions]
    if of_frames:
        num, num_frames = len(plan.zoom_phase), max(plan.picture.shape[1], plan.mode.shape[1])
        structs = pa.StructArray.from_arrays(of_frames, fields=list(_by_frame(config)))
        offsets = np.arange(num + 1, dtype=np.int32) * np.int32(num_frames)
        kind = vpixmix_fields(config)[-1].type
        columns.append(pa.ListArray.from_arrays(pa.array(offsets), structs, type=kind))
    return columns


def _picture_columns(
    plan: VPixMixPlan, config: VPixMixConfig, ids: pa.StringArray
) -> list[pa.Array]:
    """Return one array for each of `_picture_fields`: a row a clip, or one a frame."""
    corner = _flat(plan.picture_y), _flat(plan.picture_x)
    columns = picture_columns(_flat(plan.picture), *corner, ids)
    if config.picture != "zoom":
        return columns
    unused = plan.zoom_direction == 0
    names = np.where(plan.zoom_direction == INWARDS, *_DIRECTIONS.values())
    zoom = plan.zoom_phase, plan.zoom_factor, names
    return [*columns[:2], *(pa.array(column, mask=unused) for column in zoom)]


def _decision_columns(plan: VPixMixPlan, config: VPixMixConfig) -> list[pa.Array]:
    """Return one array for each of `_decision_fields`: a row a clip, or one a frame."""
    head = [_flat(column) for column in plan[:4]]
    a, b, later = _flat(plan.a), _flat(plan.b), {}
    if config.draws == "smooth":
        a, b = plan.a[:, 0], plan.b[:, 0]
        later = {"end_a": plan.a[:, 1], "end_b": plan.b[:, 1]}
    parts: list[Any] = [head[3], *(_flat(column) for column in plan[7:11]), a, b]
    rounds = Rounds(*parts)
    starts = start_columns(*head[:3]) if config.method == "pipeline" else []
    return [*starts, rounds_column(rounds, **later)]


def _flat(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Turn [n, m, …] into [n·m, …]."""
    return column.reshape(column.shape[0] * column.shape[1], *column.shape[2:])


def vpixmix_from_columns(table: pa.Table, config: VPixMixConfig, num_frames: int) -> VPixMixPlan:
    """Rebuild the plan that `vpixmix_columns` made these rows from, of clips of so many frames.

    Raises:
        ValueError: a row, perhaps of an altered manifest, has another number of frames, or an unknown name.
    """
    frames = _frames_of(table, num_frames) if _by_frame(config) else table
    shapes = {True: (len(table), num_frames), False: (len(table), 1)}

    def clips(column: npt.NDArray[Any], is_by_frame: bool) -> npt.NDArray[Any]:
        return column.reshape(*shapes[is_by_frame], *column.shape[1:])

    by_frame = config.picture == "frame"
    if config.picture == "zoom":
        crop, zoom = _zooms_from(table)
    else:
        crop, zoom = [*picture_from(frames if by_frame else table)], _no_zoom(len(table))
    crop = [clips(column, by_frame) for column in crop]

    by_frame = config.draws == "frame"
    rows = frames if by_frame else table
    k = pixmix_constants(config).k
    rounds, ends = rounds_from(rows, k, *_later(config))
    start = start_from(rows) if config.method == "pipeline" else _no_start(len(rows))
    a, b = clips(rounds.a, by_frame), clips(rounds.b, by_frame)
    if ends:
        a, b = (np.stack(pair, axis=1) for pair in zip((rounds.a, rounds.b), ends, strict=True))
    columns: list[Any] = [clips(column, by_frame) for column in (*start, rounds.num_rounds)]
    columns += [*crop, *(clips(column, by_frame) for column in rounds[1:5])]
    columns += [a, b, *zoom]
    return VPixMixPlan(*columns)


def _frames_of(table: pa.Table, num_frames: int) -> pa.Table:
    """Return the structs of `frames`, a row a frame."""
    lists = one_array(table["frames"])
    lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
    other = lengths != num_frames
    if other.any():
        raise ValueError(f"{lengths[other][0]} frames in a row; allowed: {num_frames}")
    structs = lists.flatten()
    fields = list(structs.type)
    return pa.table([structs.field(field.name) for field in fields], schema=pa.schema(fields))


def _zooms_from(table: pa.Table) -> tuple[list[npt.NDArray[Any]], list[npt.NDArray[Any]]]:
    """Return picture, y and x, and phase, factor and direction, of a table with `ZOOM_FIELDS`."""
    index, nought = plain(table["mixing_picture"], -1, np.int32), np.zeros(len(table), np.int32)
    phase, factor = (plain(table[name], 0, np.float64) for name in ("zoom_phase", "zoom_factor"))
    place = numbers(table["zoom_direction"], tuple(_DIRECTIONS.values()))
    direction = np.array([*_DIRECTIONS, 0], np.int8)[place]
    return [index, nought, nought], [phase, factor, direction]


def _no_start(num: int) -> tuple[I8, F32, Bool]:
    """Return op, level and sign where every frame starts as itself."""
    return np.full(num, -1, np.int8), np.zeros(num, np.float32), np.zeros(num, np.bool_)


def _no_zoom(num: int) -> list[npt.NDArray[Any]]:
    """Return phase, factor and direction where there is no zoom."""
    return [np.zeros(num), np.zeros(num), np.zeros(num, np.int8)]
