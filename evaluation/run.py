"""`evaluate`: a checkpoint against test sets, one file of predictions each, and the results of them all."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evaluation.fits import check_fits, check_names
from evaluation.open_set import OpenSet, join_anomalies
from evaluation.predict import Network
from evaluation.predictions import predictions_path, read_about
from evaluation.progress import EvaluationProgress
from evaluation.readings import ANOMALIES, set_results
from evaluation.report import Pictures, Wanted, write_report
from evaluation.requests import Request, open_request
from evaluation.results import Results
from evaluation.tasks import Settings, Task, attack_task, make_task
from evaluation.work import PARTIAL_NAME, is_done, make_predictions
from pipeline.errors import DreamshardsError, UsageError
from pipeline.publish import check_writable, claimed, publish_bytes
from pipeline.sources.cifar_names import CLASS_NAMES
from training.checkpoint import Trained, load_trained
from training.config import HardwareConfig
from training.world import find_device

RESULTS_NAME = "results.json"
_ORDER = ("clean", "pgd", "c", "c-bar", "r", "p", "windows", "ood")
_IMAGENET_CLASSES = 1000
_CLIP_AXES = 4
_NO_NORMAL = "the clean test set, which anomalies are told from, is a hole itself"


@dataclass(frozen=True)
class Report:
    """How an evaluation ended.

    Attributes:
        results: as in results.json.
        page: the same for people to look at.
        num_sets, num_found: files of predictions, and how many of these an earlier run had made.
        seconds: that it took.
    """

    results: Results
    page: Path
    num_sets: int
    num_found: int
    seconds: float


def evaluate(
    checkpoint: Path, requests: Sequence[Request], out: Path, settings: Settings
) -> Report:
    """Evaluate a checkpoint on test sets; leave predictions, results.json and a page in the folder `out`.

    A set whose predictions for this checkpoint, this data and these settings are there is not evaluated
    again, nor is a variant of one that was stopped. A set that cannot be evaluated is a hole in the results,
    with the reason; the others are evaluated all the same.

    Raises:
        UsageError: the request as a whole makes no sense.
        DreamshardsError: the checkpoint or `out` is not what it should be, or no set could be evaluated.
    """
    check_writable(out)
    begun = time.perf_counter()
    trained = load_trained(checkpoint)
    if settings.published and len(trained.shape) == _CLIP_AXES:
        raise UsageError(
            "--published: of networks of clips no numbers were published that are measured in another way; "
            "leave it out"
        )
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    with claimed(out, "evaluation"):
        _check_out(out, digest)
        holes: dict[str, str] = {}
        sets = _open_all(requests, trained, settings, holes)
        tasks = _plan(sets, trained, digest, settings, holes)
        device = find_device(HardwareConfig(device=settings.device))  # type: ignore[arg-type]
        network = Network(trained, device)
        done, num_found = _run_all(tasks, network, out, settings, holes)
        clean = next((path for task, path in done if task.about.kind == "clean"), None)
        dataset = _dataset_name(sets, trained)
        results = Results(
            model_name(checkpoint),
            dataset,
            set_results([path for _, path in done], clean),
            "alexnet" if dataset == "imagenet" else "none",
            settings={
                "checkpoint": str(checkpoint),
                "SHA-256": digest,
                "device": device.type,
                "precision": "float32",
            },
            holes=holes,
            published=settings.published,
        )
        publish_bytes(out / RESULTS_NAME, results.to_json().encode())
        page = write_report(
            out, results, predictions=[path for _, path in done], pictures=_pictures(tasks)
        )
    return Report(results, page, len(done), num_found, time.perf_counter() - begun)


def _pictures(tasks: Sequence[Task]) -> Pictures:
    """Return what finds the samples that a page shows, one at a time; None for one that cannot be read."""
    opened = {task.about.set: task.opened for task in tasks}

    def find(wanted: Wanted) -> npt.NDArray[np.uint8] | None:
        found = opened[wanted.set]
        for part in found.parts:
            single = not found.benchmark
            if single or (part.name, part.severity) == (wanted.variant, wanted.severity):
                try:
                    images, _ = next(found.read(part, np.array([wanted.source_index]), 1))
                except DreamshardsError:
                    return None
                picture: npt.NDArray[np.uint8] = images[0].numpy()
                return picture
        return None

    return find


def model_name(checkpoint: Path) -> str:
    """Return what to call a checkpoint: the folder of its run, and its own name unless that is last.pt."""
    folder = checkpoint.resolve().parent.name
    return folder if checkpoint.stem == "last" else f"{folder}/{checkpoint.stem}"


def _check_out(out: Path, digest: str) -> None:
    """Refuse a folder with predictions of another checkpoint.

    Raises:
        DreamshardsError: it is one.
    """
    for path in sorted(out.glob(predictions_path(Path(), "*").name)):
        about = read_about(path)
        if about is not None and about.identity.get("checkpoint") != digest:
            raise DreamshardsError(
                f"{path} is of another checkpoint (SHA-256 {about.identity.get('checkpoint')}, this one's is "
                f"{digest}); give another --out, or remove the folder"
            )


# ── what to do ──


def _open_all(
    requests: Sequence[Request], trained: Trained, settings: Settings, holes: dict[str, str]
) -> list[OpenSet]:
    """Open the sets that can be opened; the others are holes.

    Raises:
        DreamshardsError: none can.
    """
    opened, errors = [], []
    for request in requests:
        try:
            cache = settings.cache_dir, settings.cache_bytes
            opened.append(open_request(request, trained, settings.batch_size, *cache))
        except DreamshardsError as error:
            holes[request.name or request.text] = str(error)
            errors.append(error)
    if not opened:
        raise errors[0]
    check_names(opened)
    kinds = {each.kind for each in opened}
    if "ood" in kinds and "clean" not in kinds and not errors:
        raise UsageError(
            "--data: anomalies are told from normal samples, and there is no clean test set among "
            f"{', '.join(each.name for each in opened)}; give one too"
        )
    return sorted(opened, key=lambda each: _ORDER.index(each.kind))


def _plan(
    sets: Sequence[OpenSet],
    trained: Trained,
    digest: str,
    settings: Settings,
    holes: dict[str, str],
) -> list[Task]:
    tasks: list[Task] = []
    normal: Task | None = None
    anomalies = []
    for opened in sets:
        try:
            if opened.kind == "ood":
                check_fits(opened, trained)
                anomalies.append(opened)
                continue
            task = make_task(opened, trained, digest, settings, normal)
        except DreamshardsError as error:
            holes[opened.name] = str(error)
            continue
        tasks.append(task)
        if opened.kind == "clean" and normal is None:
            normal = task
            attacks = settings.attacks(clips=opened.videos is not None)
            tasks += [attack_task(task, trained, settings, each) for each in attacks]
    if anomalies and normal is None:
        holes[ANOMALIES] = _NO_NORMAL
    elif anomalies:
        joined = join_anomalies(ANOMALIES, anomalies)
        try:
            tasks.append(make_task(joined, trained, digest, settings, normal))
        except DreamshardsError as error:
            holes[ANOMALIES] = str(error)
    return tasks


# ── doing it ──


def _run_all(
    tasks: Sequence[Task], network: Network, out: Path, settings: Settings, holes: dict[str, str]
) -> tuple[list[tuple[Task, Path]], int]:
    """Make the files of all tasks, and return those made or found, and how many were found."""
    total = sum(task.pictures(part) for task in tasks for part in task.opened.parts)
    done: list[tuple[Task, Path]] = []
    num_found = 0
    with EvaluationProgress(total) as shown:
        for task in tasks:
            name = task.about.set
            if task.about.kind == "ood" and not any(t.about.kind == "clean" for t, _ in done):
                holes[name] = _NO_NORMAL
                continue
            path = predictions_path(out, name)
            if is_done(path, task):
                num_found += 1
                shown.found(sum(map(task.pictures, task.opened.parts)))
            else:
                try:
                    lost = make_predictions(task, network, out, settings, shown)
                except DreamshardsError as error:
                    holes[name] = str(error)
                    continue
                if lost:
                    holes[name] = "; ".join(lost)
            done.append((task, path))
    if not done:
        reasons = "\n  ".join(f"{name}: {reason}" for name, reason in holes.items())
        raise DreamshardsError(f"no set could be evaluated\n  {reasons}")
    with suppress(OSError):
        (out / PARTIAL_NAME).rmdir()
    return done, num_found


def _dataset_name(sets: Sequence[OpenSet], trained: Trained) -> str:
    """Return which data set's published numbers stand beside these."""
    kinds = [each.source_kind for each in sets if each.kind in ("clean", "c", "c-bar", "p")]
    clean = next((each.name for each in sets if each.kind == "clean"), sets[0].name)
    if any(each.videos is not None for each in sets):  # no numbers of pictures compare with those
        return next((kind for kind in kinds if kind in ("ucf101", "digit-videos")), clean)
    known = next((kind for kind in kinds if kind in ("cifar10", "cifar100", "digits")), None)
    if known is not None:
        return known
    named = next((n for n, c in CLASS_NAMES.items() if c == tuple(trained.classes)), None)
    if named is not None:
        return named
    if len(trained.classes) == _IMAGENET_CLASSES and all(
        name.startswith("n") and name[1:].isdigit() for name in trained.classes
    ):
        return "imagenet"
    return clean
