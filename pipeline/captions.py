"""A dataset and its samples in words, from dataset.json and from manifest rows."""

from __future__ import annotations

from typing import Any

from pipeline.plan.pixmix_columns import MIXING_PICTURE
from pipeline.progress import human_bytes

Row = dict[str, Any]


# ── one sample ──


def describe_base(row: Row) -> str:
    """Return the base transform: `crop 32×32 px at row −1, column 2, mirrored`."""
    top, left = _number(row["crop_y"]), _number(row["crop_x"])
    text = f"crop {row['crop_h']}×{row['crop_w']} px at row {top}, column {left}"
    return f"{text}, mirrored" if row["flip"] else text


def describe_steps(row: Row) -> list[str]:
    """Return the augmentation: a line for the start, one for each round or step; none for a clean sample."""
    if "second_source_id" in row:
        return _describe_pair(row)
    if "corruption" in row:
        return [f"{row['corruption']}, severity {row['severity']}"]
    if "perturbation" in row:
        return [f"sequence {row['perturbation']}, difficulty {row['difficulty']}"]
    if "rounds" not in row:
        return []
    start = _op(row["start_op"], row["start_level"], row["start_negative"])
    lines = [f"start: augmented copy, {start}" if start else "start: the crop itself"]
    for step in row["rounds"]:
        if step["operand"] == MIXING_PICTURE:
            operand = f"mixing picture {row['mixing_id']}"
        else:
            operand = f"augmented copy, {_op(step['operand'], step['level'], step['negative'])}"
        verb = "multiply by" if step["mode"] == "multiply" else step["mode"]
        weights = f"a={_number(step['a'], 2)}, b={_number(step['b'], 2)}"
        lines.append(f"{verb} {operand} ({weights})")
    return lines if row["rounds"] else [*lines, "no mixing"]


def _describe_pair(row: Row) -> list[str]:
    """Return what mixup or CutMix did: the second picture with its crop, and the share of each."""
    kept = row["label_weight"]
    if kept == 1:
        return ["no mixing"]
    crop = {
        name: row[f"second_{name}"] for name in ("crop_y", "crop_x", "crop_h", "crop_w", "flip")
    }
    how = "blended with"
    if "box_h" in row:
        how = (
            f"{row['box_h']}×{row['box_w']} px at row {row['box_y']}, column {row['box_x']} are of"
        )
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
    severity = augmentation.get("severity")
    if severity is None:
        return meanings
    return [
        *meanings,
        (
            "start",
            "what mixing begins with: the crop itself, or an augmented copy of it, which is the crop "
            "after one operation. The number is the operation's level, from 0.1 to the severity "
            f"{severity:g}; a minus reverses its direction.",
        ),
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
    ]


def printable(text: str) -> str:
    """Return text from file names with control characters spelt out, so that it keeps to its line."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
