"""Which network feature visualisations look into: chosen, read and checked before any work is done.

A `Network` is numbers alone, so that workers on any machine can be handed it. Three ways to one:

* `oriented`, the default: random weights in the likeness of early vision, see `fvis_oriented`.
* A torchvision architecture by name: with random weights, with published ones, or with a checkpoint's.
* A checkpoint of an unknown architecture: its leading convolutions, see `leading_convolutions`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.errors import DreamshardsError, UsageError, nearest
from pipeline.pictures.fvis_oriented import CYCLE, Layer
from pipeline.store import MissingObjectError, names_in, open_file

if TYPE_CHECKING:
    import torch

F32 = npt.NDArray[np.float32]

MAX_LAYERS = 4
"""How deep pictures look: past the fourth convolution they cost more and resemble objects, not textures."""

_EPSILON = 1e-5  # of batch normalisation, which state_dicts leave out
_WRAPPERS = ("model_state_dict", "state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile


@dataclass(frozen=True)
class Network:
    """A network to look into. Two are equal if their digests are.

    Attributes:
        digest: hex SHA-256 of all that pictures depend on.
        kind: "oriented", "chain" or "torchvision".
        cycle: the layers that groups of pictures look at in turn, 0 the first.
        seed: of the family of "oriented" networks.
        layers: of a "chain".
        name, nodes, tensors: a "torchvision" architecture, the places looked at, and its weights up to there.
    """

    digest: str
    kind: Literal["oriented", "chain", "torchvision"] = field(compare=False)
    cycle: tuple[int, ...] = field(compare=False)
    seed: int = field(default=0, compare=False)
    layers: tuple[Layer, ...] = field(default=(), compare=False)
    name: str = field(default="", compare=False)
    nodes: tuple[str, ...] = field(default=(), compare=False)
    tensors: Mapping[str, F32] = field(default_factory=dict, compare=False)

    @property
    def endless(self) -> bool:
        """Whether there is another network for every few pictures."""
        return self.kind == "oriented"


def require_torch() -> None:
    """Check that torch can be imported.

    Raises:
        DreamshardsError: it cannot.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise DreamshardsError(
            "feature visualisations need torch, which the base install leaves out: "
            'pip install "dreamshards[train]", or choose another kind of pictures'
        ) from error


def load_network(
    network: str | None = None,
    *,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    weights: str | None = None,
) -> Network:
    """Return the network that a recipe asks for.

    Args:
        network: "oriented", or a torchvision classification architecture such as "resnet18"; None stands
            for "oriented", or with a checkpoint for the checkpoint's own convolutions.
        seed: of random weights.
        checkpoint: path or URI of a file that torch.save wrote: a state_dict, bare or under
            "model_state_dict", "state_dict" or "model".
        weights: torchvision's name for published weights, such as "DEFAULT" or "IMAGENET1K_V1"; they
            are downloaded on first use.

    Raises:
        UsageError: an unknown name, or options that exclude each other.
        DreamshardsError: torch is not installed; the file cannot be read, has no convolutions or does not
            fit the architecture; the weights cannot be downloaded.
    """
    if network == "oriented" and checkpoint is not None:
        raise UsageError(
            "network 'oriented' has random weights and takes no checkpoint; leave `network` out to use "
            f"the convolutions of {checkpoint}"
        )
    if network in (None, "oriented") and weights is not None:
        raise UsageError(
            f"weights {weights!r} are published for a torchvision network: name it, e.g. network: resnet18"
        )
    if checkpoint is not None and weights is not None:
        raise UsageError(f"give either the checkpoint {checkpoint} or the weights {weights!r}")
    require_torch()
    if network is not None and network != "oriented":
        return _torchvision(network, seed, checkpoint, weights)
    if checkpoint is not None:
        layers = leading_convolutions(*_read_checkpoint(checkpoint))
        arrays = [array for layer in layers for array in (layer.weight, layer.bias)]
        digest = _digest(["chain", [layer[2:] for layer in layers]], arrays)
        return Network(digest, "chain", tuple(range(len(layers))), layers=layers)
    return Network(_digest(["oriented", seed], []), "oriented", CYCLE, seed=seed)


def _digest(names: list[Any], arrays: list[npt.NDArray[Any]]) -> str:
    hashed = hashlib.sha256(json.dumps(names).encode())
    for array in arrays:
        hashed.update(f"{array.dtype.str} {array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).data)
    return hashed.hexdigest()


def _read_checkpoint(checkpoint: str | Path) -> tuple[dict[str, torch.Tensor], str]:
    """Return the tensors of a checkpoint by name, without the prefixes that wrappers add, and its address."""
    import torch

    store, name = open_file(os.fspath(checkpoint))
    path = store.address(name)
    try:
        file = io.BytesIO(store.read(name))
    except MissingObjectError as error:
        near = nearest(name, names_in(store))
        raise DreamshardsError(f"no checkpoint file {path}{near}") from error
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has no one class for a file it cannot read
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DreamshardsError(
            f"cannot read the checkpoint {path}: {reason[:160]}; expected a file of tensors alone, as "
            "torch.save(model.state_dict(), path) writes"
        ) from error
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    tensors = {}
    for name, value in content.items() if isinstance(content, dict) else ():
        if isinstance(name, str) and isinstance(value, torch.Tensor):
            while name.startswith(_PREFIXES):
                name = name.split(".", 1)[1]
            tensors[name] = value
    if not tensors:
        raise DreamshardsError(
            f"the checkpoint {path} holds no state_dict, neither bare nor under "
            f"{', '.join(map(repr, _WRAPPERS))}; save one with torch.save(model.state_dict(), path)"
        )
    return tensors, path


def leading_convolutions(tensors: Mapping[str, torch.Tensor], path: str) -> tuple[Layer, ...]:
    """Return the first convolutions of a state_dict as a chain, batch normalisation folded in.

    The first 2-D convolution on 1 or 3 channels starts the chain; each later one, in the order of the
    file, joins it if it takes as many channels as the last one gives; others (shortcuts) are
    passed over. A batch normalisation joins the convolution before it, which holds for convolution-
    normalisation-ReLU as well as for pre-activation blocks. A file says nothing of strides, residual sums and
    pooling: kernels of 7 and more are taken to have stride 2, even kernels to cut patches, all others
    stride 1, so that deeper units are seen at a finer scale than the network sees them.

    Args:
        tensors: by name, in the order of the file.
        path: of the file, for messages.

    Raises:
        DreamshardsError: there is no convolution, or none on pictures; a weight is not finite.
    """
    kernels = {
        name: value
        for name, value in tensors.items()
        if value.ndim == 4 and name.endswith("weight")
    }
    if not kernels:
        raise DreamshardsError(
            f"the checkpoint {path} has no convolution: none of its {len(tensors)} tensors is a weight of "
            "4 dimensions; feature visualisations need a convolutional network"
        )
    chain: list[Layer] = []
    plain = False  # whether the last layer still waits for its normalisation
    for name, value in tensors.items():
        if name in kernels and _fits(value, chain[-1].weight.shape[0] if chain else None):
            if len(chain) == MAX_LAYERS:
                break
            chain.append(_plain_layer(value, tensors.get(name[: -len("weight")] + "bias")))
            plain = True
        elif name.endswith("running_mean") and plain and len(value) == len(chain[-1].bias):
            chain[-1] = _normalised(chain[-1], tensors, name[: -len("running_mean")])
            plain = False
    if not chain:
        first = next(iter(kernels))
        raise DreamshardsError(
            f"no convolution of the checkpoint {path} takes a picture of 3 channels (or 1): "
            f"the first, {first}, takes {kernels[first].shape[1]}"
        )
    for layer in chain:
        if not (np.isfinite(layer.weight).all() and np.isfinite(layer.bias).all()):
            raise DreamshardsError(
                f"the checkpoint {path} holds weights that are not finite numbers"
            )
    return tuple(chain)


def _fits(kernel: torch.Tensor, width: int | None) -> bool:
    """Tell whether a kernel can follow a layer of `width` channels, or start if None."""
    outputs, inputs = kernel.shape[:2]
    if kernel.shape[2] != kernel.shape[3]:
        return False
    if width is None:
        return inputs in (1, 3)
    return inputs == width or (inputs == 1 and outputs % width == 0)  # the latter by channel


def _plain_layer(kernel: torch.Tensor, bias: torch.Tensor | None) -> Layer:
    side = kernel.shape[-1]
    stride = side if side % 2 == 0 else 2 if side >= 7 else 1
    weight = kernel.detach().float().contiguous().numpy().copy()
    zeros = np.zeros(len(weight), np.float32)
    return Layer(weight, zeros if bias is None else bias.detach().float().numpy().copy(), stride)


def _normalised(layer: Layer, tensors: Mapping[str, torch.Tensor], prefix: str) -> Layer:
    """Return the layer with the batch normalisation `prefix` folded into it."""

    def numbers(name: str, default: float) -> F32:
        value = tensors.get(prefix + name)
        if value is None:
            return np.full(len(layer.bias), default, np.float32)
        array: F32 = value.detach().float().numpy()
        return array

    gain = numbers("weight", 1) / np.sqrt(numbers("running_var", 1) + np.float32(_EPSILON))
    weight = layer.weight * gain[:, None, None, None]
    bias = (layer.bias - numbers("running_mean", 0)) * gain + numbers("bias", 0)
    return layer._replace(weight=weight.astype(np.float32), bias=bias.astype(np.float32))


def _torchvision(
    name: str, seed: int, checkpoint: str | Path | None, weights: str | None
) -> Network:
    from pipeline.pictures import fvis_torchvision

    model = fvis_torchvision.architecture(name, seed=seed, weights=weights)
    nodes, tensors = fvis_torchvision.first_layers(model, name, MAX_LAYERS)
    if checkpoint is not None:
        found, path = _read_checkpoint(checkpoint)
        tensors = fvis_torchvision.replaced_tensors(tensors, found, name, path)
    keys = sorted(tensors)
    digest = _digest(["torchvision", name, nodes, keys], [tensors[key] for key in keys])
    return Network(
        digest, "torchvision", tuple(range(len(nodes))), name=name, nodes=nodes, tensors=tensors
    )
