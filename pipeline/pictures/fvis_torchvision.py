"""Looking into torchvision's classifiers: by name, cut after their first convolutions.

The network's own forward pass runs and is broken off at the layer that is looked at: whatever comes before
happens as it does in training, and nothing past it is computed, sent or kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import DreamshardsError, UsageError, nearest

if TYPE_CHECKING:
    import torch

_TRIAL_SIDE = 64
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


class _Reached(Exception):  # noqa: N818
    """The way out of a forward pass: what was to be computed has been."""

    def __init__(self, output: torch.Tensor) -> None:
        self.output = output


def first_layers(
    model: torch.nn.Module, name: str, count: int
) -> tuple[tuple[str, ...], dict[str, npt.NDArray[np.float32]]]:
    """Return where the first `count` convolutions end, and the weights up to there, float32 by name.

    A convolution ends at its batch normalisation if one takes its output, else at itself. The order
    is that of a forward pass, which is broken off after `count`.

    Raises:
        UsageError: a picture of 64×64 pixels does not get as far as a convolution.
    """
    import torch

    names = {module: key for key, module in model.named_modules()}
    entered: list[str] = []
    ends: list[tuple[str, torch.Tensor]] = []

    def enter(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, torch.nn.Conv2d) and len(ends) == count:
            raise _Reached(ends[-1][1])
        entered.append(names[module])

    def leave(module: torch.nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, torch.nn.Conv2d) and output.shape[-1] > 1:  # else a gate on channels
            ends.append((names[module], output))
        elif isinstance(module, torch.nn.BatchNorm2d) and ends and inputs[0] is ends[-1][1]:
            ends[-1] = names[module], output

    handles = [
        handle
        for module in names
        for handle in (module.register_forward_pre_hook(enter), module.register_forward_hook(leave))
    ]
    reason = "its forward pass has none"
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, _TRIAL_SIDE, _TRIAL_SIDE))
    except _Reached:
        pass
    except Exception as error:  # whatever a network makes of a picture of another size
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
    finally:
        for handle in handles:
            handle.remove()
    if not ends:
        raise UsageError(
            f"network {name!r} shows no convolution for a picture of {_TRIAL_SIDE} pixels: {reason}; "
            "choose a convolutional one, such as resnet18"
        )
    tensors = {}
    for key in entered:
        module = model.get_submodule(key)
        own = (*module.named_parameters(key, False), *module.named_buffers(key, False))
        for full, value in own:
            if value.is_floating_point():
                tensors[full] = value.detach().float().numpy().copy()
    return tuple(key for key, _ in ends), tensors


def replaced_tensors(
    own: Mapping[str, npt.NDArray[np.float32]],
    tensors: Mapping[str, torch.Tensor],
    name: str,
    path: str,
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
    state = {key: torch.from_numpy(np.array(value)) for key, value in tensors.items()}
    model.load_state_dict(state, strict=False, assign=True)  # the rest stays without storage
    model.requires_grad_(False)
    mean = torch.tensor(_IMAGENET_MEAN)[:, None, None]
    std = torch.tensor(_IMAGENET_STD)[:, None, None]

    def leave(module: torch.nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        raise _Reached(output)

    def maps(pictures: torch.Tensor, layer: int) -> torch.Tensor:
        handle = model.get_submodule(nodes[layer]).register_forward_hook(leave)
        try:
            model(((pictures + 1) / 2 - mean) / std)
        except _Reached as reached:
            return reached.output
        finally:
            handle.remove()
        raise AssertionError(f"{nodes[layer]} is not part of a forward pass")

    return maps
