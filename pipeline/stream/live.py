"""`LiveStream`: the batches of a recipe rendered as they are asked for, by the plan and code of a build."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import get_worker_info

from pipeline.errors import DreamshardsError, UsageError, nearest
from pipeline.executor import InlineExecutor
from pipeline.identity import inputs_identity, recipe_hash
from pipeline.inputs import open_inputs, reopen_inputs
from pipeline.pictures import open_pictures
from pipeline.plan.pairs import CutMixPlan, MixupPlan
from pipeline.plan.videomix import VideoMixPlan
from pipeline.recipe import Recipe, load_recipe, parse_recipe, preset_names
from pipeline.render.slots import Slots
from pipeline.sampling import (
    Inputs,
    Plan,
    draw_plan,
    encode_samples,
    parts_ahead,
    render_into,
    render_plan,
)
from pipeline.settings import is_yaml_file, override
from pipeline.shards.codecs import CODECS
from pipeline.shards.dataset import read_dataset
from pipeline.shards.layout import key_of
from pipeline.store import LocalStore, open_store
from pipeline.stream.checks import check_live_state, check_number
from pipeline.stream.decode import decoder_of
from pipeline.stream.index import class_shares
from pipeline.stream.local import default_threads
from pipeline.stream.passes import BatchStream, Contents, EpochReader, Options
from pipeline.stream.samples import Batch, empty_batch
from pipeline.variants import sample_shape, variants
from pipeline.worker import ShardContext, chunk_rows, warm_up

U8 = npt.NDArray[np.uint8]


class LiveStream(BatchStream):
    """What `ShardStream` gives for the root built from a recipe, byte for byte, without building it.

    For trying a recipe out, and for comparing with training that renders as it goes. Samples of a lossy codec
    go through it here too. Order, ranks, states and workers are those of `ShardStream`, but epochs have no
    end: those past the recipe's `epochs` are rendered afresh. A state fits the same recipe and inputs alone.

    Opening takes as long as the start of a build: inputs are checked, the mixing set is mapped from the
    cache or made, in this process, and the kernels are loaded or compiled, before any worker is forked.

    Args:
        recipe: a recipe; a preset's name or the path of a YAML file; or the root of a finished build, as a
            path or URI, whose inputs must be those it was built from. A preset's name goes before a folder's.
        overrides: `key=value` for single fields, as `--set` takes; of a root, where its inputs lie now.
        batch_size: most samples of a batch on one rank.
        epoch: the epoch to begin with.
        rank, world_size, drop_last: as in `ShardStream`.
        read_ahead: most batches rendered ahead, by threads, in each process; 0 renders them on demand.
        num_threads: rendering threads; by default one in a DataLoader worker, else the CPUs granted.
        return_keys, pin_memory: as in `ShardStream`.

    Raises:
        UsageError: no such recipe or root, or a recipe that is not valid.
        DreamshardsError: inputs that cannot be opened or are not those of the root, or a request that cannot
            give every rank the same number of batches. On reading: a source picture is gone or altered.
    """

    def __init__(
        self,
        recipe: Recipe | str | os.PathLike[str],
        *,
        batch_size: int,
        overrides: Sequence[str] = (),
        epoch: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
        read_ahead: int = 4,
        num_threads: int | None = None,
        return_keys: bool = False,
        pin_memory: bool = False,
    ) -> None:
        check_number("epoch", epoch)
        options = Options.checked(
            batch_size=batch_size,
            rank=rank,
            world_size=world_size,
            drop_last=drop_last,
            read_ahead=read_ahead,
            num_threads=num_threads,
            return_keys=return_keys,
            pin_memory=pin_memory,
        )
        self._inputs = _find_inputs(recipe, overrides)
        self._set_digest = self._inputs.pictures.digest if self._inputs.pictures else None
        digest = recipe_hash(inputs_identity(self._inputs))
        source = self._inputs.source
        found = variants(self._inputs.recipe)
        shapes = [sample_shape(self._inputs.recipe, number) for number in range(len(found or [0]))]
        contents = Contents(list(source.class_names), shapes, (len(source.labels),), digest, found)
        super().__init__(contents, options, epoch)
        warm_up(ShardContext(self._inputs, digest, LocalStore(Path())))

    def __getstate__(self) -> dict[str, Any]:
        # pictures, of 256 px gigabytes, are mapped again from the cache where this is unpickled, not sent
        return vars(self) | {"_inputs": self._inputs._replace(pictures=None)}

    @property
    def recipe(self) -> Recipe:
        """The recipe, with every value filled in."""
        return self._inputs.recipe

    def _check_origin(self, state: dict[str, Any]) -> None:
        check_live_state(self.recipe.name, self._contents.digest, state)

    def _open(self, epoch: int) -> EpochReader:
        if self._inputs.pictures is None and self._set_digest is not None:
            self._reopen_pictures()
        render = partial(render_batch, self._inputs, epoch, pin_memory=self._options.pin_memory)
        threads = self._options.num_threads or default_threads()
        if get_worker_info() is not None and threads == 1:
            threads = 0  # a worker is ahead by itself

        def keys(start: int, stop: int) -> list[str]:
            return [key_of(epoch, position) for position in range(start, stop)]

        return EpochReader(keys, lambda asked, _: render(asked.start, asked.stop), threads)

    def _reopen_pictures(self) -> None:
        assert self.recipe.mixing_set is not None
        pictures = open_pictures(self.recipe.mixing_set, InlineExecutor())
        if pictures.digest != self._set_digest:
            raise DreamshardsError(
                f"recipe {self.recipe.name}: the mixing set changed since the stream was made: digest "
                f"{pictures.digest}, then {self._set_digest}; make the stream anew"
            )
        self._inputs = self._inputs._replace(pictures=pictures)


def render_batch(
    inputs: Inputs, epoch: int, start: int, stop: int, *, pin_memory: bool = False
) -> Batch:
    """Render positions [start, stop) of an epoch as they come out of the shards of a build.

    Raises:
        DreamshardsError: a source picture is gone or altered.
    """
    plan = draw_plan(inputs, epoch, start, stop)
    shape = sample_shape(inputs.recipe, epoch)
    batch = _labelled(empty_batch(stop - start, shape, pin_memory), inputs, plan)
    out, step = batch.images.numpy(), chunk_rows(inputs.recipe, shape)
    for number, rows in enumerate(parts_ahead(inputs, plan, step)):
        _fill_images(inputs, rows, out[number * step :][:step])
    return batch


def _labelled(batch: Batch, inputs: Inputs, plan: Plan) -> Batch:
    """Return a batch with the labels of a plan, which readers of shards have from manifests."""
    source, family = inputs.source, plan.augmentation
    labels = source.labels[plan.sources]
    if isinstance(family, MixupPlan | CutMixPlan | VideoMixPlan):
        second = source.labels[family.second_source_index]
        shares = class_shares(labels, second, family.label_weight, len(source.class_names))
        return batch._replace(labels=torch.from_numpy(shares))
    batch.labels.numpy()[:] = labels
    return batch


def _fill_images(inputs: Inputs, plan: Plan, out: U8) -> None:
    """Write the samples of a plan, uint8 [n, …]; those of a lossy codec as it leaves them."""
    recipe = inputs.recipe
    if CODECS[recipe.shards.codec].lossless:
        render_into(inputs, plan, Slots.of(out))
        return
    decode = decoder_of(recipe.shards.codec)
    for row, payload in enumerate(encode_samples(recipe, render_plan(inputs, plan))):
        decode(payload, out[row])


# ── what a stream is of ──


def _find_inputs(recipe: Recipe | str | os.PathLike[str], overrides: Sequence[str]) -> Inputs:
    """Return the opened inputs of a recipe, of the name or path of one, or of a root.

    Raises:
        UsageError: there is no such recipe or root, or the recipe is not valid.
        DreamshardsError: the inputs cannot be opened, or are not those that the root was built from.
    """
    executor = InlineExecutor()
    if isinstance(recipe, Recipe):
        content = override(recipe.model_dump(mode="json"), overrides)
        return open_inputs(parse_recipe(content, f"recipe {recipe.name}"), executor)
    name = os.fspath(recipe)
    if name in preset_names() or is_yaml_file(name):
        return open_inputs(load_recipe(name, overrides), executor)
    store = open_store(recipe)
    if isinstance(store, LocalStore) and not store.folder.is_dir():
        presets = preset_names()
        raise UsageError(
            f"unknown recipe or root {name!r}{nearest(name, presets)}; allowed: a Recipe, a preset "
            f"({', '.join(presets)}), a .yaml file, or the root of a finished build"
        )
    return reopen_inputs(store, read_dataset(store), overrides, executor)
