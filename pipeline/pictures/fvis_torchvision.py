"""Looking into torchvision's classifiers: by name, cut after their first convolutions.

A network is traced symbolically, so that whatever its forward pass does up to a layer happens here too,
and nothing past that layer is computed or kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import DreamshardsError, UsageError, nearest

if TYPE_CHECKING:
    import torch

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def architecture(name: str, *, seed: int, weights: str | None) -> torch.nn.Module:
    """Return a classifier with random weights, or with published ones.

    Raises:
        UsageError: no such architecture, or no such weights of it.
        DreamshardsError: torchvision is not installed, or the weights cannot be downloaded.
    """
    import torch

    try:
        from torchvision import models
    except ImportError as error:
        raise DreamshardsError(
            f'network {name!r} needs torchvision: pip install "dreamshards[train]"'
        ) from error
    names = models.list_models(module=models)
    if name not in names:
        raise UsageError(
            f"unknown network {name!r}{nearest(name, ['oriented', *names])}; allowed: oriented, or a "
            "classification network of torchvision, such as resnet18, vgg11 or alexnet"
        )
    chosen: Any = None
    if weights is not None:
        published = models.get_model_weights(name)
        allowed = ["DEFAULT", *published.__members__]
        if weights not in allowed:
            raise UsageError(
                f"unknown weights {weights!r} of {name}{nearest(weights, allowed)}; allowed: "
                f"{', '.join(allowed)}"
            )
        chosen = getattr(published, weights)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of slow or changed initialisation of weights
        torch.manual_seed(seed)
        try:
            model: torch.nn.Module = models.get_model(name, weights=chosen)
        except (OSError, RuntimeError) as error:  # no connection, or a file that is not what it was
            raise DreamshardsError(
                f"cannot get the weights {weights!r} of {name}: {error}; without a connection give "
                "a checkpoint file, or leave `weights` out for random ones"
            ) from error
    return model.eval()


def first_nodes(model: torch.nn.Module, count: int) -> tuple[str, ...]:
    """Return where the first `count` convolutions end: at their batch normalisation, if one follows."""
    import torch
    from torchvision.models.feature_extraction import get_graph_node_names

    names = get_graph_node_names(model)[1]
    modules = dict(model.named_modules())
    nodes: list[str] = []
    for name, after in zip(names, [*names[1:], ""], strict=True):
        if isinstance(modules.get(name), torch.nn.Conv2d):
            normalised = isinstance(modules.get(after), torch.nn.BatchNorm2d)
            nodes.append(after if normalised else name)
    return tuple(nodes[:count])


def needed_tensors(
    model: torch.nn.Module, nodes: Sequence[str]
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the weights up to `nodes`, float32, by their names in the model."""
    return {
        name: value.detach().float().numpy().copy()
        for name, value in _cut(model, nodes).state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def replaced_tensors(
    own: Mapping[str, npt.NDArray[np.float32]],
    tensors: Mapping[str, torch.Tensor],
    name: str,
    path: Path,
) -> dict[str, npt.NDArray[np.float32]]:
    """Return a checkpoint's tensors in place of a model's `own`.

    Raises:
        DreamshardsError: one is missing or has another shape.
    """
    for key, value in own.items():
        found = tensors.get(key)
        if found is None or tuple(found.shape) != value.shape:
            what = "lacks it" if found is None else f"has it as {list(found.shape)}"
            raise DreamshardsError(
                f"the checkpoint {path} does not fit {name}: that has {key} as {list(value.shape)}, "
                f"the file {what}; leave `network` out to use the file's own convolutions"
            )
    return {key: tensors[key].detach().float().numpy().copy() for key in own}


def extractor(
    name: str, nodes: Sequence[str], tensors: Mapping[str, npt.NDArray[np.float32]]
) -> Callable[[torch.Tensor, int], torch.Tensor]:
    """Return the function of (pictures in (−1, 1), layer) that gives the map at nodes[layer]."""
    import torch
    from torchvision import models

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = models.get_model(name).eval()
    cuts: dict[int, torch.nn.Module] = {}
    mean = torch.tensor(_IMAGENET_MEAN)[:, None, None]
    std = torch.tensor(_IMAGENET_STD)[:, None, None]

    def maps(pictures: torch.Tensor, layer: int) -> torch.Tensor:
        if layer not in cuts:
            cut = _cut(model, nodes[layer : layer + 1])
            state = {
                key: torch.from_numpy(np.array(tensors[key])) if key in tensors else torch.zeros(())
                for key in cut.state_dict()
            }
            cut.load_state_dict(state, assign=True)
            cuts[layer] = cut.requires_grad_(False).eval()
        found: torch.Tensor = cuts[layer](((pictures + 1) / 2 - mean) / std)[nodes[layer]]
        return found

    return maps


def _cut(model: torch.nn.Module, nodes: Sequence[str]) -> torch.nn.Module:
    from torchvision.models.feature_extraction import create_feature_extractor

    cut: torch.nn.Module = create_feature_extractor(model, list(nodes))
    return cut.eval()
