"""Pictures of a report: samples of every corruption and sequence, and the surest mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from evaluation.report.markup import Html, animation, element, paragraph, picture
from evaluation.report.predicted import Originals, Predicted, Seen, by_variant
from pipeline.errors import DreamshardsError

U8 = npt.NDArray[np.uint8]

NUM_FRAMES = 5
"""Frames shown of a clip, evenly spread from the first to the last."""


_CLIP_AXES = 4


class Wanted(NamedTuple):
    """Which sample a report wants to show; the fields are the columns of `evaluation.predictions`."""

    set: str
    variant: str
    severity: int | None
    key: str | None
    source_index: int


Pictures: TypeAlias = Callable[[Wanted], "U8 | None"]
"""Returns a sample, uint8 [H, W, 3], of sequences and clips [F, H, W, 3], or None where it cannot be had.

Clips of videos play in cards and as anomalies; elsewhere the frame in the middle is shown.
"""


def sample_sheets(found: Predicted, pictures: Pictures, originals: Originals | None) -> Html:
    """Return one source picture under every corruption and severity, or frames of one clip of every kind."""
    if not found.shown:
        return Html()
    sheets = []
    if found.about.kind == "p":
        for name, (clip, *_) in by_variant(found.shown):
            sheets.append(_sheet(name, _frames(clip, found, pictures)))
        return element("div", *sheets, class_="sheets")
    first = found.shown[0]
    clean = originals.find(first.source_index, first.source_id) if originals else None
    if clean is not None:
        sheets.append(_sheet("clean", [_tile(clean, found, pictures, "")]))
    for name, seen in by_variant(found.shown):
        tiles = [_tile(each, found, pictures, f"severity {each.severity}") for each in seen]
        sheets.append(_sheet(name, tiles))
    return element("div", *sheets, class_="sheets")


def anomaly_sheets(found: Predicted, pictures: Pictures) -> Html:
    """Return the anomalies of each set that the model is surest to know."""
    sheets = (
        _sheet(name, [_tile(each, found, pictures, "", plays=True) for each in seen])
        for name, seen in by_variant(found.worst)
    )
    return element("div", *sheets, class_="sheets")


def window_sheets(found: Predicted, pictures: Pictures) -> Html:
    """Return the windows of some videos, each with the class that the model takes it for."""
    if not found.shown:
        return paragraph("No answer changes.")
    sheets = []
    for video in dict.fromkeys(seen.source_id for seen in found.shown):
        windows = [seen for seen in found.shown if seen.source_id == video]
        tiles = [_tile(each, found, pictures, f"frame {each.start_frame}") for each in windows]
        sheets.append(_sheet(video, tiles))
    return element("div", *sheets, class_="sheets")


def failure_cards(found: Predicted, pictures: Pictures | None, originals: Originals | None) -> Html:
    """Return the surest mistakes, each beside its clean original, with true and predicted class."""
    if not found.worst:
        return paragraph("The model has every sample right.")
    cards = (_card(seen, found, pictures, originals) for seen in found.worst)
    return element("div", *cards, class_="cards" if found.about.parts else "cards alone")


def class_name(found: Predicted, place: int | None) -> str:
    """Return the name of a class of the checkpoint, `none` of an anomaly."""
    if place is None:
        return "none"
    names = found.about.classes
    if not 0 <= place < len(names):
        raise DreamshardsError(
            f"predictions of {found.about.set}: class {place}; allowed: 0 to {len(names) - 1}, the "
            "checkpoint's. Evaluate the set again"
        )
    return names[place]


def _card(
    seen: Seen, found: Predicted, pictures: Pictures | None, originals: Originals | None
) -> Html:
    true, guess = class_name(found, seen.label), class_name(found, seen.predictions[0])
    where = "" if seen.severity is None else f", {seen.variant} at severity {seen.severity}"
    clean = None
    if found.about.kind != "clean" and originals is not None:
        clean = originals.find(seen.source_index, seen.source_id)
    lines = [paragraph(element("strong", true), " taken for ", element("strong", guess))]
    lines.append(paragraph(f"confidence {_sure(seen)}{where}"))
    if clean is not None:
        lines.append(paragraph(f"clean: {class_name(found, clean.predictions[0])}, {_sure(clean)}"))
    lines.append(paragraph(element("code", seen.key or seen.source_id), class_="quiet"))
    pair = []
    if pictures is not None:
        pair.append(
            element(
                "div",
                _shown(seen, found, pictures, plays=True),
                "" if clean is None else "corrupted",
            )
        )
        if clean is not None:
            pair.append(element("div", _shown(clean, found, pictures, plays=True), "clean"))
    return element(
        "article", element("div", *pair, class_="pair") if pair else "", *lines, class_="card"
    )


def _sheet(name: str, tiles: Sequence[Html]) -> Html:
    label = element("div", name.replace("_", " "), class_="label")
    columns = f"grid-template-columns: repeat({max(len(tiles), NUM_FRAMES)}, minmax(0, 1fr))"
    return element("div", label, *tiles, class_="tiles", style=columns)


def _tile(
    seen: Seen, found: Predicted, pictures: Pictures, head: str, *, plays: bool = False
) -> Html:
    guess = class_name(found, seen.predictions[0])
    verdict = _verdict(seen.predictions[0], seen.label, guess, _sure(seen))
    above = [element("div", head, class_="head")] if head else []
    return element(
        "div", *above, _shown(seen, found, pictures, plays=plays), verdict, class_="tile"
    )


def _frames(clip: Seen, found: Predicted, pictures: Pictures) -> list[Html]:
    frames = pictures(_wanted(clip))
    if frames is None:
        return [_nothing()]
    if frames.ndim != 4 or len(frames) != len(clip.predictions):
        raise DreamshardsError(
            f"pictures: {_wanted(clip)}: got shape {frames.shape}; allowed: {len(clip.predictions)} frames, "
            "uint8 [F, H, W, 3]"
        )
    tiles = []
    for at in (
        np.linspace(0, len(frames) - 1, min(NUM_FRAMES, len(frames))).round().astype(int).tolist()
    ):
        name = class_name(found, clip.predictions[at])
        alt = f"frame {at + 1} of {clip.source_id}, {clip.variant}, taken for {name}"
        head = element("div", f"frame {at + 1}", class_="head")
        verdict = _verdict(clip.predictions[at], clip.label, name, "")
        tiles.append(
            element("div", head, picture(_checked(frames[at], clip), alt), verdict, class_="tile")
        )
    return tiles


def _verdict(guess: int, label: int | None, name: str, sure: str) -> Html:
    """Return a class above its confidence, with a sign and a colour where there is a true class."""
    if label is None:
        return element("span", name, element("br"), sure, class_="verdict")
    sign, colour = ("✓", "right") if guess == label else ("✗", "wrong")
    return element("span", name, element("br"), f"{sign} {sure}", class_=f"verdict {colour}")


def _shown(seen: Seen, found: Predicted, pictures: Pictures, *, plays: bool = False) -> Html:
    pixels = pictures(_wanted(seen))
    if pixels is None:
        return _nothing()
    guess = class_name(found, seen.predictions[0])
    place = seen.variant if seen.severity is None else f"{seen.variant} at severity {seen.severity}"
    true = f"class {class_name(found, seen.label)}, " if seen.label is not None else ""
    alt = f"{seen.source_id}, {place}, {true}taken for {guess} with {_sure(seen)}"
    if not found.about.clips or pixels.ndim != _CLIP_AXES:
        return picture(_checked(pixels, seen), alt)
    still = _checked(pixels[(len(pixels) - 1) // 2], seen)
    return animation(pixels, alt) if plays else picture(still, alt)


def _checked(pixels: U8, seen: Seen) -> U8:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise DreamshardsError(
            f"pictures: {_wanted(seen)}: got {pixels.dtype} {pixels.shape}; allowed: uint8 [H, W, 3]"
        )
    return pixels


def _nothing() -> Html:
    return element("div", "not to be had", class_="none")


def _wanted(seen: Seen) -> Wanted:
    return Wanted(seen.set, seen.variant, seen.severity, seen.key, seen.source_index)


def _sure(seen: Seen) -> str:
    """Return a confidence in percent, never rounded up to certainty."""
    value = 100 * (seen.confidence or 0.0)
    return f"{value:.1f}%" if value <= 99.9 or value == 100 else ">99.9%"
