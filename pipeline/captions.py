"""A dataset and its samples in words, from dataset.json and from manifest rows."""

from __future__ import annotations

from typing import Any

from pipeline.plan.pixmix_columns import MIXING_PICTURE
from pipeline.progress import human_bytes

Row = dict[str, Any]

_NUM_FRAMES_TOLD = 3
"""Frames of a clip whose decisions are put in words, where each has its own."""


# ── one sample ──


def describe_base(row: Row) -> str:
    """Return the base transform: `crop 32×32 px at row −1, column 2, mirrored`."""
    top, left = _number(row["crop_y"]), _number(row["crop_x"])
    text = f"crop {row['crop_h']}×{row['crop_w']} px at row {top}, column {left}"
    text = f"{text}, mirrored" if row["flip"] else text
    return f"{text}, from frame {row['start_frame']}" if "start_frame" in row else text


def describe_steps(row: Row) -> list[str]:
    """Return the augmentation: a line for the start, one for each round or step; none for a clean sample."""
    if "second_source_id" in row:
        return _describe_pair(row)
    if "corruption" in row:
        return [f"{row['corruption']}, severity {row['severity']}"]
    if "perturbation" in row:
        return [f"sequence {row['perturbation']}, difficulty {row['difficulty']}"]
    if "frames" in row:
        return _describe_frames(row)
    return _describe_rounds(row, _mixing(row)) if "rounds" in row else []


def _mixing(row: Row) -> str:
    name = row.get("mixing_id")
    return f"zoom {name}" if "zoom_phase" in row else f"mixing picture {name}"


def _describe_rounds(row: Row, mixing: str) -> list[str]:
    """Return PixMix's start and rounds, with `mixing` for what they mix in of the mixing set."""
    lines = []
    if row.get("zoom_phase") is not None:
        factor, phase = _number(row["zoom_factor"], 4), _number(row["zoom_phase"], 2)
        lines.append(
            f"{mixing}: {row['zoom_direction']}wards by {factor} a frame, from phase {phase}"
        )
    if "start_op" in row:
        start = _op(row["start_op"], row["start_level"], row["start_negative"])
        lines.append(f"start: augmented copy, {start}" if start else "start: the crop itself")
    for step in row["rounds"]:
        operand = mixing
        if step["operand"] != MIXING_PICTURE:
            operand = f"augmented copy, {_op(step['operand'], step['level'], step['negative'])}"
        verb = "multiply by" if step["mode"] == "multiply" else step["mode"]
        lines.append(f"{verb} {operand} ({_weight(step, 'a')}, {_weight(step, 'b')})")
    return lines if row["rounds"] else [*lines, "no mixing"]


def _weight(step: Row, name: str) -> str:
    """Return a weight, or where it drifts its first and last value."""
    last = f" to {_number(step['end_' + name], 2)}" if f"end_{name}" in step else ""
    return f"{name}={_number(step[name], 2)}{last}"


def _describe_frames(row: Row) -> list[str]:
    """Return what was decided for the first frames, and in how many more they differ."""
    lines, frames = [], row["frames"]
    if "rounds" in row:
        lines = _describe_rounds(row, "the mixing picture of each frame")
    for number, frame in enumerate(frames[:_NUM_FRAMES_TOLD]):
        if "rounds" in row:
            steps = [f"mixing picture {frame['mixing_id']}" if frame["mixing_id"] else "no mixing"]
        else:
            steps = _describe_rounds({**row, **frame}, _mixing({**row, **frame}))
        lines.append(f"frame {number}: {'; '.join(steps)}")
    more = len(frames) - _NUM_FRAMES_TOLD
    if more == 1:
        lines.append("1 more frame, with its own")
    elif more > 1:
        lines.append(f"{more} more frames, each with its own")
    return lines


def _describe_pair(row: Row) -> list[str]:
    """Return what mixup, CutMix or VideoMix did: the second sample with its crop, and the share of each."""
    kept = row["label_weight"]
    if kept == 1:
        return ["no mixing"]
    crop = {
        name: row[f"second_{name}"]
        for name in ("crop_y", "crop_x", "crop_h", "crop_w", "flip", "start_frame")
        if f"second_{name}" in row
    }
    how = "blended with"
    if "box_h" in row:
        how = f"{row['box_h']}×{row['box_w']} px at row {row['box_y']}, column {row['box_x']}"
        if "box_t" in row:
            how += f" of frames {row['box_t']} to {row['box_t'] + row['box_len'] - 1}"
        how += " are of"
    return [
        f"{how} {row['second_source_id']}, label {row['second_label']}",
        f"its {describe_base(crop)}",
        f"labels: {row['label']} by {kept:.1%}, {row['second_label']} by {1 - kept:.1%}",
    ]


def _op(name: str | None, level: float | None, negative: bool | None) -> str:
    if name is None or level is None:
        return name or ""
    return f"{name} {_number(-level if negative else level, 2)}"


def _number(value: float, decimals: int = 0) -> str:
    """Return a number with the minus sign of typeset text, not a hyphen."""
    return f"{value:.{decimals}f}".replace("-", "−")


# ── a whole dataset ──

_SAID_ELSEWHERE = {"kind", "family", "path", "on_unreadable", "download", "count"}


def describe_dataset(dataset: Row) -> list[tuple[str, str]]:
    """Return what dataset.json says of a build, as (name, value); places are left out."""
    recipe, mixing_set = dataset["recipe"], dataset["mixing_set"]
    epochs, per_epoch = dataset["epochs"], dataset["samples_per_epoch"]
    pictures = [f"{per_epoch:,} pictures", f"{len(dataset['classes']):,} classes"]
    mixing = "none"
    if mixing_set is not None:
        mixing = _section(recipe["mixing_set"], f"{mixing_set['pictures']:,} pictures")
    samples = (
        f"{epochs:,} epochs × {per_epoch:,} = {dataset['samples']:,}, in {len(dataset['shards']):,} "
        f"shards, {human_bytes(dataset['bytes'])}, codec {dataset['sample']['codec']}"
    )
    return [
        ("source", _section(recipe["source"], *pictures)),
        ("base transform", _section(recipe["transform"])),
        ("augmentation", _section(recipe["augmentation"])),
        ("mixing set", mixing),
        ("seed", str(recipe["seed"])),
        ("samples", samples),
        ("digest", dataset["digest"]),
    ]


def _section(section: Row, *counts: str) -> str:
    """Return a section of a recipe as `pixmix, k 4, beta 3`, with `counts` after its kind."""
    kind = section.get("kind") or section["family"]
    fields = [
        f"{name.replace('_', ' ')} {_shown(value)}"
        for name, value in section.items()
        if name not in _SAID_ELSEWHERE and value is not None
    ]
    return ", ".join([kind, *counts, *fields])


def _shown(value: Any) -> str:
    """Return a field's value; of the parts of a blend their weights: `flame 0.75 and fvis 0.25`."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        weights = {
            name: part["weight"] if isinstance(part, dict) else part for name, part in value.items()
        }
        return " and ".join(f"{name} {weight:.4g}" for name, weight in weights.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_PAIRS = {
    "mixup": "the shares of the two labels, which are those of the two pictures in every pixel.",
    "cutmix": "the shares of the two labels, which are those of the pixels that show each picture.",
    "videomix": "the shares of the two labels, which are those of the voxels that show each clip.",
}
"""Family → what the caption of the labels means."""

_VARIANTS = {
    "corruptions": (
        "severity",
        "how strong the corruption is that the crop was given, 1 to 5. An epoch holds one at one severity.",
    ),
    "perturbations": (
        "difficulty",
        "how strong the noise of a sequence of noise is, 1 to 3. An epoch holds one kind of sequence, whose "
        "frames follow each other; the first, middle and last are shown.",
    ),
}
"""Family → a word of its captions, and what it means."""


_CHOICES = {
    ("vpixmix", "zoom"): [
        (
            "zoom",
            "the frames of a clip meet frames of a zoom that follow each other, each showing it larger than "
            "the one before by the factor told, or smaller. The phase is where in the zoom the first one is.",
        )
    ],
    ("vpixmix", "frame"): [
        (
            "frame",
            "every frame of a clip meets a mixing picture of its own; the first few are named.",
        )
    ],
}
"""(family, which picture frames meet) → more words of captions, and what they mean."""


def describe_captions(dataset: Row) -> list[tuple[str, str]]:
    """Return what the captions of this dataset's samples mean, as (word, meaning)."""
    size, transform = dataset["sample"]["shape"][-2], dataset["recipe"]["transform"]
    cut = "the clean picture"
    if transform["kind"] == "center-crop":
        cut = f"the clean picture with its shorter side resized to {transform['resize']} px"
    meanings = [
        (
            "key",
            "the number of a sample: its epoch, then its position there. `dreamshards replay ROOT KEY` "
            "makes that sample again and compares it with the stored one.",
        ),
        (
            "crop",
            f"the box cut out of {cut} first: height × width, and its top left corner. "
            "What lies beyond the picture is black. "
            f"A box of another size is resized to {size}×{size} px.",
        ),
    ]
    augmentation = dataset["recipe"]["augmentation"]
    if augmentation["family"] in _PAIRS:
        return [*meanings, ("labels", _PAIRS[augmentation["family"]])]
    if augmentation["family"] in _VARIANTS:
        return [*meanings, _VARIANTS[augmentation["family"]]]
    if augmentation["family"] not in ("pixmix", "vpixmix"):
        return meanings
    severity = augmentation.get("severity")
    if severity is not None:
        meaning = (
            "what mixing begins with: the crop itself, or an augmented copy of it, which is the crop "
            "after one operation. The number is the operation's level, from 0.1 to the severity "
            f"{severity:g}; a minus reverses its direction."
        )
        meanings.append(("start", meaning))
    return [
        *meanings,
        (
            "add, multiply",
            "the rounds of mixing, in order. Each mixes the picture so far, x, with the mixing picture "
            "or another augmented copy of the crop, y. With pixels from 0 to 1, add is "
            "(a(2x − 1) + b(2y − 1) + 1) / 2 and multiply is (2x)^a (2y)^b / 2.",
        ),
        (
            "a, b",
            "the weights of a round: a is that of the picture so far, b that of what is mixed in. "
            "With b near 0 it is hardly seen; with b below 0 it counts reversed: its bright parts darken.",
        ),
        *_CHOICES.get((augmentation["family"], augmentation.get("picture")), ()),
    ]


def printable(text: str) -> str:
    """Return text from file names with control characters spelt out, so that it keeps to its line."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
