"""Networks from checkpoints, torchvision and nowhere; every wrong one is one clear message."""

from __future__ import annotations

import argparse
import pickle
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import DreamshardsError, UsageError
from pipeline.pictures.fvis_basis import squash
from pipeline.pictures.fvis_net import Network, load_network
from pipeline.pictures.fvis_probe import open_probe

PICTURES = squash(torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0)))


def _seeded(module: nn.Module) -> nn.Module:
    """Give every tensor of a module values that are neither 0 nor 1."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.normal_(generator=generator)
                if name.endswith("running_var"):
                    tensor.abs_().add_(0.1)
    return module.eval()


def _saved(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


class _Block(nn.Module):
    """A pre-activation block of a wide residual network, in the usual order of its parts."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else None


class _Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.block1 = nn.Sequential(_Block(8, 16), _Block(16, 16))
        self.block2 = nn.Sequential(_Block(16, 32), _Block(32, 32))
        self.bn1 = nn.BatchNorm2d(32)
        self.fc = nn.Linear(32, 10)


def _maps(network: Network) -> list[torch.Tensor]:
    with torch.no_grad():
        return [open_probe(network, 0).maps(PICTURES, layer) for layer in network.cycle]


def _plain() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, padding=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 12, 3, padding=1, groups=6),
        nn.ReLU(),
        nn.Conv2d(12, 8, 1, bias=False),
        nn.BatchNorm2d(8, affine=False),
        nn.ReLU(),
        nn.Conv2d(8, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Flatten(),
        nn.Linear(4, 10),
    )


def test_a_plain_chain_gives_the_network_s_own_maps(tmp_path: Path) -> None:
    """Convolutions with and without bias, normalisation and groups; the fifth is not looked at."""
    net = _plain()
    _seeded(net)
    network = load_network(checkpoint=_saved(net.state_dict(), tmp_path / "plain.pt"))
    assert (network.kind, network.cycle) == ("chain", (0, 1, 2, 3))
    assert isinstance(net, nn.Sequential)
    with torch.no_grad():
        expected = [net[:end](PICTURES) for end in (2, 4, 7, 9)]
    for found, true in zip(_maps(network), expected, strict=True):
        assert torch.allclose(found, true, rtol=1e-3, atol=1e-3 * float(true.abs().max()))


@pytest.mark.parametrize("key", [None, "model", "state_dict", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
def test_wrappers_and_prefixes_change_nothing(tmp_path: Path, key: str | None, prefix: str) -> None:
    state = _seeded(_plain()).state_dict()
    bare = load_network(checkpoint=_saved(state, tmp_path / "bare.pt"))
    wrapped = {prefix + name: tensor for name, tensor in state.items()}
    content = wrapped if key is None else {"epoch": 3, "optimizer": {"lr": 0.1}, key: wrapped}
    other = load_network(checkpoint=_saved(content, tmp_path / "wrapped.pt"))
    assert other == bare
    assert other.digest == bare.digest


def test_other_weights_have_another_digest(tmp_path: Path) -> None:
    state = _seeded(_plain()).state_dict()
    before = load_network(checkpoint=_saved(state, tmp_path / "a.pt"))
    state["8.bias"][0] += 1e-3
    assert load_network(checkpoint=_saved(state, tmp_path / "a.pt")) != before


def test_a_wide_residual_network_s_chain(tmp_path: Path) -> None:
    """The shortcut is passed over; each normalisation joins the convolution it stands behind."""
    net = _seeded(_Wide())
    assert isinstance(net, _Wide)
    network = load_network(checkpoint=_saved({"model": net.state_dict()}, tmp_path / "wrn.pt"))
    assert [layer.weight.shape[:2] for layer in network.layers] == [
        (8, 3),
        (16, 8),
        (16, 16),
        (16, 16),
    ]
    first, second = net.block1[0], net.block1[1]
    assert isinstance(first, _Block)
    assert isinstance(second, _Block)
    with torch.no_grad():
        one = first.bn1(net.conv1(PICTURES))
        two = first.bn2(first.conv1(torch.relu(one)))
        three = second.bn1(first.conv2(torch.relu(two)))
        four = second.bn2(second.conv1(torch.relu(three)))
    for found, true in zip(_maps(network), (one, two, three, four), strict=True):
        assert torch.allclose(found, true, rtol=1e-3, atol=1e-3 * float(true.abs().max()))


def test_strides_that_a_file_does_not_tell(tmp_path: Path) -> None:
    state = {"a.weight": torch.randn(4, 3, 7, 7), "b.weight": torch.randn(4, 4, 2, 2).half()}
    network = load_network(checkpoint=_saved(state, tmp_path / "strides.pt"))
    assert [layer.stride for layer in network.layers] == [2, 2]
    assert [tuple(maps.shape[2:]) for maps in _maps(network)] == [(20, 20), (10, 10)]


def test_random_networks_need_nothing() -> None:
    first, again, other = load_network(), load_network("oriented"), load_network(seed=1)
    assert first == again != other
    assert first.endless
    assert sorted(set(first.cycle)) == [0, 1, 2]
    shapes = {tuple(open_probe(first, number).maps(PICTURES, 0).shape) for number in range(10)}
    assert len(shapes) > 2


def test_torchvision_maps_are_the_model_s_own() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    network = load_network("resnet18", seed=7)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert network.nodes == ("bn1", "layer1.0.bn1", "layer1.0.bn2", "layer1.1.bn1")
    assert sum(array.nbytes for array in network.tensors.values()) < 1e6  # not the other 44 MB
    from torchvision.models import resnet18  # type: ignore[import-untyped]

    torch.manual_seed(7)
    model = resnet18().eval()
    mean, std = (
        torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    x = ((PICTURES + 1) / 2 - mean) / std
    with torch.no_grad():
        stem = model.bn1(model.conv1(x))
        body = model.maxpool(torch.relu(stem))
        block = model.layer1[0]
        one = block.bn1(block.conv1(body))
        two = block.bn2(block.conv2(torch.relu(one)))
        three = model.layer1[1].bn1(model.layer1[1].conv1(torch.relu(two + body)))
    for found, true in zip(_maps(network), (stem, one, two, three), strict=True):
        assert torch.allclose(found, true, rtol=1e-3, atol=1e-4)
    assert load_network("resnet18", seed=7) == network != load_network("resnet18", seed=8)


def test_a_checkpoint_of_a_torchvision_network(tmp_path: Path) -> None:
    """Its head may be another: only what is looked at is taken."""
    from torchvision.models import squeezenet1_1

    torch.manual_seed(0)
    model = squeezenet1_1(num_classes=7).eval()
    path = _saved({"state_dict": model.state_dict()}, tmp_path / "squeezenet.pt")
    network = load_network("squeezenet1_1", checkpoint=path)
    assert network.nodes[0] == "features.0"
    assert np.array_equal(network.tensors["features.0.weight"], model.features[0].weight.detach())
    assert network != load_network("squeezenet1_1")


def test_gates_and_blocks_of_torchvision_are_seen_through() -> None:
    network = load_network("mobilenet_v3_small")
    assert network.nodes[0] == "features.0.1"
    assert all(maps.shape[-1] > 1 for maps in _maps(network))


WRONG: list[tuple[dict[str, Any], type[DreamshardsError], str]] = [
    (
        {"network": "resnet81"},
        UsageError,
        r"unknown network 'resnet81' \(did you mean 'resnet\d+'\?\)",
    ),
    ({"network": "orientated"}, UsageError, r"'orientated' \(did you mean 'oriented'\?\)"),
    ({"network": "vit_b_16"}, UsageError, "shows no convolution for a picture of 64 pixels"),
    (
        {"network": "resnet18", "weights": "IMAGENET1K_V7"},
        UsageError,
        r"unknown weights 'IMAGENET1K_V7' of resnet18 \(did you mean 'IMAGENET1K_V1'\?\); allowed: "
        "DEFAULT, IMAGENET1K_V1",
    ),
    ({"weights": "DEFAULT"}, UsageError, "name it, e.g. network: resnet18"),
    ({"weights": "DEFAULT", "checkpoint": "x.pt"}, UsageError, "name it"),
    (
        {"network": "vgg11", "weights": "DEFAULT", "checkpoint": "x.pt"},
        UsageError,
        "either the checkpoint",
    ),
    ({"network": "oriented", "checkpoint": "x.pt"}, UsageError, "takes no checkpoint"),
    ({"checkpoint": "/nowhere/x.pt"}, DreamshardsError, "no checkpoint file /nowhere/x.pt"),
]


@pytest.mark.parametrize(("options", "kind", "message"), WRONG)
def test_wrong_choices(options: dict[str, Any], kind: type[DreamshardsError], message: str) -> None:
    with pytest.raises(kind, match=message):
        load_network(**options)


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.models

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(torchvision.models, "get_model", refuse)
    with pytest.raises(
        DreamshardsError, match=r"cannot get the weights 'DEFAULT' of vgg11.*no route"
    ):
        load_network("vgg11", weights="DEFAULT")


def test_a_file_with_nearly_that_name(tmp_path: Path) -> None:
    _saved({}, tmp_path / "last.pt")
    with pytest.raises(
        DreamshardsError, match=r"no checkpoint file .*lats.pt \(did you mean 'last.pt'\?\)"
    ):
        load_network(checkpoint=tmp_path / "lats.pt")


UNREADABLE = {
    "empty.pt": b"",
    "text.pt": b"not a checkpoint",
    "cut.pt": b"PK\x03\x04" + bytes(60),
    "object.pt": pickle.dumps(argparse.Namespace(lr=0.1), 2),
}


@pytest.mark.parametrize("name", list(UNREADABLE))
def test_unreadable_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(UNREADABLE[name])
    with pytest.raises(DreamshardsError, match="cannot read the checkpoint") as caught:
        load_network(checkpoint=path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_but_tensors_is_unpickled(tmp_path: Path) -> None:
    path = _saved({"args": argparse.Namespace(lr=0.1), "model": {}}, tmp_path / "args.pt")
    with pytest.raises(DreamshardsError, match=r"torch.save\(model.state_dict\(\), path\)"):
        load_network(checkpoint=path)


CONTENTS: list[tuple[Any, str]] = [
    ([1, 2], "holds no state_dict"),
    ({"epoch": 3}, "holds no state_dict"),
    ({"fc.weight": torch.ones(10, 64)}, "has no convolution: none of its 1 tensors"),
    ({"conv.weight": torch.ones(4, 16, 3, 3)}, "the first, conv.weight, takes 16"),
    ({"conv.weight": torch.full((4, 3, 3, 3), torch.nan)}, "not finite"),
]


@pytest.mark.parametrize(("content", "message"), CONTENTS)
def test_checkpoints_that_cannot_be_looked_into(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DreamshardsError, match=message):
        load_network(checkpoint=_saved(content, tmp_path / "wrong.pt"))


def test_a_checkpoint_of_another_architecture(tmp_path: Path) -> None:
    path = _saved({"conv1.weight": torch.ones(64, 3, 3, 3)}, tmp_path / "small.pt")
    with pytest.raises(
        DreamshardsError, match=r"does not fit resnet18: .*conv1.weight as \[64, 3, 7, 7\]"
    ):
        load_network("resnet18", checkpoint=path)
    with pytest.raises(DreamshardsError, match="lacks it"):
        load_network("vgg11", checkpoint=path)
