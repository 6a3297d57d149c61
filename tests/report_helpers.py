"""A made-up evaluation: results and the predictions that they were computed from, quick to make."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from evaluation.benchmarks import ANOMALY_SETS, C_BAR_CIFAR, COMMON_CORRUPTIONS, SEQUENCES
from evaluation.measures import error, rms_calibration_error
from evaluation.predictions import (
    About,
    Samples,
    picture_table,
    predictions_path,
    sequence_table,
    write_predictions,
)
from evaluation.report import Wanted
from evaluation.results import Reading, Results, SetResult

CLASSES = ("airplane", "<b>bird</b>", "cat & dog", "deer")
EVIL = '"><img src=x onerror=alert(2)>\n\u202e<b>'


class Maker:
    """Makes sets of `num` source pictures whose mistakes grow with `harm`, and writes their predictions."""

    def __init__(self, out: Path, num: int = 300, classes: tuple[str, ...] = CLASSES) -> None:
        self.out, self.num, self.classes = out, num, classes
        self.rng = np.random.default_rng(0)
        self.labels = self.rng.integers(0, len(classes), num)
        self.ids = [f"picture {place}{EVIL if place == 3 else ''}" for place in range(num)]

    def samples(self, variant: str, severity: int | None, key: str) -> Samples:
        keys = [f"{key}-{place:010d}" for place in range(self.num)]
        return Samples(variant, severity, keys, np.arange(self.num), self.ids, self.labels)

    def answers(self, harm: float) -> tuple[np.ndarray, np.ndarray]:
        sure = self.rng.beta(8, 1 + 4 * harm, self.num)
        wrong = self.rng.random(self.num) < harm + 0.3 * (1 - sure)
        shift = self.rng.integers(1, len(self.classes), self.num)
        return np.where(wrong, (self.labels + shift) % len(self.classes), self.labels), sure

    def about(self, name: str, kind, parts=(), settings=None) -> About:
        return About(
            name,
            kind,
            tuple(parts),
            self.classes,
            f"datasets/{name}",
            {"checkpoint": "ab" * 32, "data": {"digest": "cd" * 32, "epochs": 75}},
            settings or {},
        )

    def classified(self, name, kind, cells, parts=(), base=0.03) -> SetResult:
        """Make a set of (part, severity) cells, its readings measured of its predictions."""
        readings, tables = [], []
        for place, (variant, severity) in enumerate(cells):
            harm = base + 0.035 * (severity or 0) * (0.5 + place % 7 / 7)
            guess, sure = self.answers(harm)
            right = guess == self.labels
            values = {
                "error": error(guess, self.labels),
                "rms": rms_calibration_error(sure, right),
                "rms_published": rms_calibration_error(sure, right, published=True),
            }
            readings.append(Reading(variant, self.num, values, severity))
            samples = self.samples(variant, severity, f"{place:04d}")
            tables.append(picture_table(name, samples, guess, sure))
        about = self.about(name, kind, parts)
        write_predictions(predictions_path(self.out, name), about, tables)
        return SetResult(name, kind, tuple(readings), tuple(parts))

    def sequences(self, name: str, num_frames: int = 31) -> SetResult:
        readings, tables = [], []
        for place, variant in enumerate(SEQUENCES):
            guess = np.repeat(self.labels[:, None], num_frames, 1)
            guess[:, ::5] = (guess[:, ::5] + (self.rng.random(guess[:, ::5].shape) < 0.1)) % len(
                self.classes
            )
            tables.append(
                sequence_table(name, self.samples(variant, None, f"{place:04d}"), guess, None)
            )
            values = {"flip_probability": 0.01 + 0.005 * place, "t5d": 0.5 + 0.1 * place}
            readings.append(Reading(variant, self.num, values))
        write_predictions(
            predictions_path(self.out, name), self.about(name, "p", SEQUENCES), tables
        )
        return SetResult(name, "p", tuple(readings), SEQUENCES)

    def anomalies(self, name: str, parts=("gaussian", "rademacher", "blobs", "svhn")) -> SetResult:
        readings, tables = [], []
        for place, variant in enumerate(parts):
            guess, sure = self.answers(0.5)
            samples = self.samples(variant, None, f"{place:04d}")._replace(labels=None)
            tables.append(picture_table(name, samples, guess, sure))
            values = {"auroc": 0.95 - 0.05 * place, "aupr": 0.8 - 0.1 * place, "fpr95": 0.2}
            readings.append(Reading(variant, self.num, values))
        about = self.about(name, "ood", ANOMALY_SETS)
        write_predictions(predictions_path(self.out, name), about, tables)
        return SetResult(name, "ood", tuple(readings), ANOMALY_SETS, {"seed": "0"})


def whole(out: Path, dataset: str = "cifar10", **kwargs) -> tuple[Results, list[Path]]:
    """Return results with a set of every kind, and the files of predictions that they come with."""
    make = Maker(out, **kwargs)
    grid = [(name, level) for name in COMMON_CORRUPTIONS for level in range(1, 6)]
    bar = [(name, level) for name in C_BAR_CIFAR for level in range(1, 6)]
    sets = (
        make.classified("cifar10", "clean", [("cifar10", None)]),
        make.classified("cifar10-c", "c", grid, COMMON_CORRUPTIONS),
        make.classified("cifar10-c-bar", "c-bar", bar, C_BAR_CIFAR),
        make.sequences("cifar10-p"),
        make.anomalies("anomalies"),
        SetResult(
            "pgd", "pgd", (Reading("cifar10", 300, {"error": 0.7}),), (), {"centre": "clean"}
        ),
        SetResult(
            "pgd-noisy", "pgd", (Reading("cifar10", 300, {"error": 0.82}),), (), {"centre": "noisy"}
        ),
    )
    results = Results("WRN-40-4 <ours>", dataset, sets, settings={"checkpoint": "runs/a/last.pt"})
    files = [
        predictions_path(out, part.name)
        for part in sets
        if predictions_path(out, part.name).exists()
    ]
    return results, files


def pixels(wanted: Wanted) -> np.ndarray | None:
    """Return a picture that tells which sample it is: its set, severity and source in the first pixel."""
    picture = np.full((8, 8, 3), 40, np.uint8)
    picture[0, 0] = len(wanted.set), wanted.severity or 0, wanted.source_index % 256
    if wanted.set.endswith("-p"):
        return np.stack([picture + frame for frame in range(31)])
    return picture


# ── reading a page ──


class Node:
    """An element of a page: its name, attributes, children in order (elements and texts)."""

    def __init__(self, name: str, attributes: dict[str, str], parent: Node | None) -> None:
        self.name, self.attributes, self.parent = name, attributes, parent
        self.children: list[Node | str] = []

    def all(self, name: str | None = None, **attributes: str) -> list[Node]:
        """Return the elements below of a name and with attributes; of `class_` one of its words."""
        found = []
        for child in self.children:
            if isinstance(child, Node):
                fits = name is None or child.name == name
                for key, value in attributes.items():
                    has = child.attributes.get(key.rstrip("_").replace("_", "-"), "")
                    fits &= value in has.split() if key == "class_" else has == value
                found += [child] if fits else []
                found += child.all(name, **attributes)
        return found

    def text(self) -> str:
        parts = (c if isinstance(c, str) else c.text() for c in self.children)
        return "".join(parts)

    def number(self, name: str) -> float:
        return float(self.attributes[name].removesuffix("%"))

    def points(self) -> np.ndarray:
        """Return the points of a polygon or polyline, [n, 2]."""
        return np.array(
            [point.split(",") for point in self.attributes["points"].split()], np.float64
        )


class Page(HTMLParser):
    """A page whose elements all close, in order; keeps no text of the style."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.root = self.now = Node("", {}, None)
        self.feed(self.source)
        self.close()
        assert self.now is self.root, f"<{self.now.name}> is never closed"

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), f"<{tag}>: an attribute twice"
        node = Node(tag, {name: value or "" for name, value in attrs}, self.now)
        self.now.children.append(node)
        if tag not in self.VOID:
            self.now = node

    def handle_endtag(self, tag):
        assert tag == self.now.name, f"</{tag}> closes <{self.now.name}>"
        assert self.now.parent is not None
        self.now = self.now.parent

    def handle_data(self, data):
        self.now.children.append(data)

    def section(self, title: str) -> Node:
        (found,) = [s for s in self.root.all("section") if s.all("h2")[0].text() == title]
        return found

    def pictures(self, inside: Node | None = None) -> dict[str, np.ndarray]:
        """Return the pictures, uint8 [H, W, 3], by what their `alt` says."""
        found = {}
        for image in (inside or self.root).all("img"):
            data = image.attributes["src"].partition("base64,")[2]
            found[image.attributes["alt"]] = np.asarray(
                Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            )
        return found


def rows_of(table: Node) -> dict[str, list[str]]:
    """Return the cells of a table by the first of each row."""
    lines = [
        [cell.text() for cell in row.children if isinstance(cell, Node)] for row in table.all("tr")
    ]
    return {first: rest for first, *rest in lines}
