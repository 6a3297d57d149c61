"""What was done to a sample, in words, from its manifest row."""

from __future__ import annotations

from typing import Any

from pipeline.plan.pixmix_columns import MIXING_PICTURE

Row = dict[str, Any]


def describe_base(row: Row) -> str:
    """Return the base transform: `crop 32×32 at (2, −1), mirrored`."""
    text = f"crop {row['crop_h']}×{row['crop_w']} at ({row['crop_y']}, {row['crop_x']})"
    return f"{text}, mirrored" if row["flip"] else text


def describe_steps(row: Row) -> list[str]:
    """Return the augmentation, one line for the start and one for each round; empty for a clean sample."""
    if "rounds" not in row:
        return []
    start = _op(row["start_op"], row["start_level"], row["start_negative"])
    lines = [f"start: {start}" if start else "start: the picture itself"]
    for step in row["rounds"]:
        operand = step["operand"]
        if operand == MIXING_PICTURE:
            shown = f"mixing picture {row['mixing_id']}"
        else:
            shown = f"own copy, {_op(operand, step['level'], step['negative'])}"
        lines.append(f"{step['mode']}: a {step['a']:.2f}, b {step['b']:+.2f}, {shown}")
    return lines


def _op(name: str | None, level: float | None, negative: bool | None) -> str:
    if name is None:
        return ""
    sign = "−" if negative else ""
    return name if level is None else f"{name} {sign}{level:.2f}"
