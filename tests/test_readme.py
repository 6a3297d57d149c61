"""What the README shows is what happens: its commands and programs run, its fields exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pydantic import BaseModel

from pipeline import augmentation_sections, picture_sections, recipe, source_sections
from pipeline.recipe import parse_recipe
from tests.test_sources_cifar import write_cifar10
from training import config

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
INLINE = tuple(
    f"dreamshards {what}"
    for what in ("build cifar10", "build digits", "pictures blend", "pictures fvis")
)
"""Run without Ray, whose start takes longer than they do; the others have it."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> Iterator[str]:
    for block in blocks("sh"):
        for line in block.splitlines():
            yield line.partition("#")[0].strip()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the inputs that the README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    write_cifar10(folder / "data")
    rng = np.random.default_rng(0)
    for name in ("photos/train/cat", "photos/train/dog", "fractals_and_fvis/fractals/images"):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (300, 280, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.jpg")
    for name in ("run/a", "run/b", "wave/a"):
        (folder / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(
            folder / f"videos/{name}.mp4", rng.integers(0, 256, (20, 130, 176, 3), np.uint8)
        )
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.Conv2d(16, 16, 3))
    torch.save(network.state_dict(), folder / "model.pt")
    return folder


def write_video(path: Path, frames: np.ndarray) -> None:
    """Write frames, uint8 [T, H, W, 3], as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def run(folder: Path, command: list[str] | str, **environment: str) -> str:
    environment |= {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        shell=isinstance(command, str),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_every_command_runs_in_the_order_of_the_page(workplace: Path, ray_address: str) -> None:
    run(workplace, "dreamshards build digits --inline")  # what `make shards` does
    seen = [command for command in commands() if not command.startswith("make ")]
    assert len(seen) == 21
    for command in seen:
        if "cifar10" in command and "mixing_set" not in command:
            command += " --set mixing_set.count=200"  # of 10,000: this is not about their number
        # another test's cluster may be the last to have started on this machine
        cluster = {"RAY_ADDRESS": ray_address} if "--ray-address auto" in command else {}
        if command.startswith(INLINE) and not cluster:
            command += " --inline"
        run(workplace, command, **cluster)
    assert (workplace / "datasets/digits.preview/index.html").exists()
    assert list((workplace / "datasets/digit-videos.preview").glob("strip-*.mp4"))
    assert (workplace / "datasets/videos/dataset.json").exists()
    assert (workplace / "datasets/digits-cluster/dataset.json").exists()
    assert len(list((workplace / "library").rglob("*.png"))) == 200
    assert (workplace / "datasets/round-1/dataset.json").exists()
    assert (workplace / "zoom.mp4").exists()
    left = {path.name for path in (workplace / "runs/digits").iterdir()}
    assert left == {"config.yaml", "last.pt", "log.csv", "curves.png", "tensorboard", "evaluation"}
    assert (workplace / "runs/digits/evaluation/report.html").exists()


@pytest.mark.slow
def test_every_program_runs(workplace: Path) -> None:
    if not (workplace / "datasets/digits/dataset.json").exists():
        run(workplace, "dreamshards build digits --inline")
    stream, loader, plain, query = blocks("python")
    last = "shape == (29, 3, 32, 32) and {}.dtype == torch.float32\n"
    run(workplace, [sys.executable, "-c", f"{stream}\nassert inputs.{last.format('inputs')}"])
    for program in (loader, plain):
        run(workplace, [sys.executable, "-c", f"{program}\nassert batch.{last.format('batch')}"])
    table = run(workplace, [sys.executable, "-c", query])
    assert len(re.findall(r"(flame|escape|ifs|gabor)-000", table)) == 5


def test_make_targets_named_here_exist() -> None:
    targets = set(
        re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    )
    named = set(re.findall(r"`make ([a-z0-9-]+)", README))
    named |= {command.split()[1] for command in commands() if command.startswith("make ")}
    assert {"shards", "test", "bench", "cifar10", "train", "train-cifar10"} <= named <= targets


def test_the_example_recipe_is_valid() -> None:
    (text,) = blocks("yaml")
    assert parse_recipe(yaml.safe_load(text), "README").epochs == 20


def test_every_field_of_a_recipe_or_configuration_is_described() -> None:
    sections = [
        section
        for module in (recipe, source_sections, augmentation_sections, picture_sections, config)
        for section in vars(module).values()
        if isinstance(section, type) and issubclass(section, BaseModel)
    ]
    fields = {field for section in sections for field in section.model_fields}
    assert {field for field in fields if not re.search(rf"\b{field}\b", README)} == set()
