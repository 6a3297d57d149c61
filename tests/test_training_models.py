"""Networks: the published sizes, any head, weights from files, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from pipeline.errors import DreamshardsError, UsageError
from training.config import ModelConfig
from training.models import Small3d, WideResNet, build_model, check_shape, head_names


def model_config(**fields: object) -> ModelConfig:
    found: ModelConfig = TypeAdapter(ModelConfig).validate_python(fields)
    return found


def small(**fields: object) -> ModelConfig:
    return model_config(**({"kind": "wide-resnet", "depth": 10, "width": 1} | fields))


RESNET = {"kind": "torchvision", "name": "resnet18"}


@pytest.mark.parametrize(
    ("depth", "width", "millions"), [(16, 4, 2.7), (22, 8, 17.2), (28, 10, 36.5), (40, 4, 8.9)]
)
def test_wide_resnets_have_the_published_sizes(depth: int, width: int, millions: float) -> None:
    # Zagoruyko & Komodakis, tables 4 and 5
    with torch.device("meta"):
        net = WideResNet(depth, width, 10)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size[0] == 3]
    assert len(convolutions) == depth - 3  # all but the head and the two 1×1 of wider groups


def test_a_wide_resnet_halves_twice_and_takes_any_side() -> None:
    net = WideResNet(10, 2, 7).eval()
    sides = []
    for group in net.groups:
        group.register_forward_hook(lambda module, taken, made: sides.append(tuple(made.shape)))
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert sides == [(2, 32, 32, 32), (2, 64, 16, 16), (2, 128, 8, 8)]
    assert net(torch.zeros(1, 3, 64, 48)).shape == (1, 7)


def test_first_weights_are_as_he_et_al_have_it() -> None:
    torch.manual_seed(0)
    net = WideResNet(16, 4, 10)
    weight = net.groups[1][1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    assert net.head.bias.abs().max() == 0
    logits = net(torch.randn(64, 3, 32, 32))
    assert 0.05 < logits.std() < 5


def test_dropout_is_between_the_convolutions_and_only_in_training() -> None:
    net = WideResNet(10, 1, 3, dropout=0.5)
    x = torch.randn(4, 3, 32, 32)
    net.train()
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet50", ["fc.weight", "fc.bias"]),
        ("r3d_18", ["fc.weight", "fc.bias"]),
        ("vit_b_16", ["heads.head.weight", "heads.head.bias"]),
        ("squeezenet1_1", ["classifier.1.weight", "classifier.1.bias"]),
        ("swin3d_t", ["head.weight", "head.bias"]),
    ],
)
def test_the_head_of_any_network_is_found(name: str, head: list[str]) -> None:
    assert head_names(model_config(kind="torchvision", name=name)) == head


def test_clips_go_through_r3d_18() -> None:
    net, fresh = build_model(model_config(kind="torchvision", name="r3d_18"), 5)
    assert fresh == []
    assert net.eval()(torch.zeros(1, 3, 4, 32, 32)).shape == (1, 5)


def test_the_small_network_for_clips_is_small_and_takes_any_length() -> None:
    net, _ = build_model(model_config(kind="small3d"), 10)
    assert isinstance(net, Small3d)
    assert sum(p.numel() for p in net.parameters()) == 226_362
    shapes = []
    for block in net.blocks:
        block.register_forward_hook(lambda module, taken, made: shapes.append(tuple(made.shape)))
    assert net.eval()(torch.zeros(2, 3, 12, 32, 32)).shape == (2, 10)
    assert shapes == [(2, 16, 12, 16, 16), (2, 32, 6, 8, 8), (2, 64, 3, 4, 4)]
    assert net(torch.zeros(1, 3, 1, 20, 28)).shape == (1, 10)
    assert head_names(model_config(kind="small3d")) == ["head.weight", "head.bias"]
    weight = net.blocks[2].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (27 * 64)) ** 0.5, rel=0.02)


def test_the_order_of_frames_matters_to_it() -> None:
    torch.manual_seed(0)
    net = Small3d(4).eval()
    clip = torch.randn(1, 3, 8, 16, 16)
    assert (net(clip) - net(clip.flip(2))).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("fields", "shape", "message"),
    [
        ({"kind": "wide-resnet"}, (8, 32, 32, 3), r"wide-resnet takes pictures \[H, W, 3\]"),
        (RESNET, (8, 32, 32, 3), "resnet18 takes pictures"),
        ({"kind": "small3d"}, (32, 32, 3), r"small3d takes clips \[T, H, W, 3\]"),
        (
            {"kind": "torchvision", "name": "r3d_18"},
            (32, 32, 3),
            r"r3d_18 takes clips \[T, H, W, 3\]",
        ),
    ],
)
def test_samples_of_another_form_are_refused(
    fields: dict[str, object], shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(DreamshardsError, match=message):
        check_shape(model_config(**fields), shape, "root")


@pytest.mark.parametrize("name", ["resnet5", "googlenet", "fasterrcnn_resnet50_fpn", "raft_large"])
def test_a_name_that_is_no_classifier_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no classifier of torchvision"):
        build_model(model_config(kind="torchvision", name=name), 3)


# ── weights ──


def test_weights_of_a_file_are_loaded_and_another_head_begins_at_random(tmp_path: Path) -> None:
    net, _ = build_model(small(), 10)
    path = tmp_path / "weights.pth"
    torch.save({f"module.{name}": value for name, value in net.state_dict().items()}, path)
    same, fresh = build_model(small(weights=str(path)), 10)
    assert fresh == []
    for name, value in net.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
    other, fresh = build_model(small(weights=str(path)), 4)
    assert fresh == ["head.weight", "head.bias"]
    assert torch.equal(other.state_dict()["stem.weight"], net.state_dict()["stem.weight"])
    assert other.state_dict()["head.weight"].shape == (4, 64)


def test_feature_extract_trains_the_head_alone(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(build_model(small(), 10)[0].state_dict(), path)
    net, _ = build_model(small(weights=str(path), feature_extract=True), 4)
    learning = [name for name, value in net.named_parameters() if value.requires_grad]
    assert learning == ["head.weight", "head.bias"]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(build_model(small(width=2), 10)[0].state_dict(), path)
    with pytest.raises(
        DreamshardsError, match=r"weights of another network: .* is \[32, 16, 3, 3\]"
    ):
        build_model(small(weights=str(path)), 10)
    with pytest.raises(DreamshardsError, match=r"of another network: conv1.weight is missing"):
        build_model(model_config(**RESNET, weights=str(path)), 10)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a file of torch", "not a readable file of tensors"),
        ({"lr": 0.1}, "no state_dict"),
        ([torch.zeros(1)], "holds a list"),
        (WideResNet, "not a readable file of tensors"),  # code is never run
    ],
)
def test_a_file_without_weights_is_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(DreamshardsError, match=message):
        build_model(small(weights=str(path)), 10)


def test_weights_that_are_not_there_are_refused() -> None:
    with pytest.raises(UsageError, match=r"'gone.pth': no such file"):
        build_model(model_config(**RESNET, weights="gone.pth"), 10)
    with pytest.raises(UsageError, match=r"'KINETICS400_V1': no such file; give a path"):
        build_model(model_config(kind="small3d", weights="KINETICS400_V1"), 10)
    with pytest.raises(UsageError, match=r"'IMAGENET1K_V9'.*did you mean 'IMAGENET1K_V1'"):
        build_model(model_config(**RESNET, weights="IMAGENET1K_V9"), 10)


def test_published_weights_are_fetched_once_and_checked_by_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file with the name and hash of a release, at a file:// address, stands in for the hub."""
    import hashlib

    from torchvision import models

    net = models.resnet18(num_classes=1000)
    path = tmp_path / "net.pth"
    torch.save(net.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    released = path.rename(tmp_path / f"resnet18-{digest}.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    entry = models.ResNet18_Weights.IMAGENET1K_V1
    served = type(entry.value)(released.as_uri(), entry.transforms, entry.meta)
    monkeypatch.setattr(entry, "_value_", served)
    loaded, fresh = build_model(model_config(**RESNET, weights="IMAGENET1K_V1"), 10)
    assert fresh == ["fc.weight", "fc.bias"]
    assert torch.equal(loaded.state_dict()["conv1.weight"], net.state_dict()["conv1.weight"])

    damaged = tmp_path / "resnet18-00000000.pth"
    damaged.write_bytes(released.read_bytes())
    monkeypatch.setattr(
        entry, "_value_", type(entry.value)(damaged.as_uri(), entry.transforms, entry.meta)
    )
    with pytest.raises(DreamshardsError, match=r"cannot fetch .*invalid hash value"):
        build_model(model_config(**RESNET, weights="IMAGENET1K_V1"), 10)
