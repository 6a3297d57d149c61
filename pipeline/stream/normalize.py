"""Turning uint8 batches into the normalised floats that models take, on the device that they run on."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pipeline.errors import DreamshardsError

CIFAR = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""Mean and deviation that PixMix trains CIFAR-10 and CIFAR-100 with."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
KINETICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
"""Mean and deviation of torchvision's video models."""


class Normalize(torch.nn.Module):
    """Maps uint8 pictures [B, H, W, 3] to `(x / 255 − mean) / std`, floats [B, 3, H, W] on `device`.

    Clips [B, T, H, W, 3] become [B, 3, T, H, W]. Pixels cross to the device as bytes, to a GPU from pinned
    memory and without waiting, and are computed there in float32 before they take `dtype`. It has no
    parameters and saves nothing. The usual constants are here too, as in `Normalize(*CIFAR)`.

    Args:
        mean: one number a channel, of pixels in [0, 1].
        std: one number above 0 a channel.
        device: where the result lies; moved like that of any module by `.to`.
        dtype: a floating-point type.
        channels_last: give the result that memory format, which costs nothing; else it is made contiguous.

    Raises:
        DreamshardsError: constants, dtype or a batch of another form.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise DreamshardsError(
                f"Normalize: mean = {mean!r}, std = {std!r}; allowed: three numbers each, std above 0"
            )
        if not dtype.is_floating_point:
            raise DreamshardsError(f"Normalize: dtype = {dtype}; allowed: floating-point types")
        self._dtype, self._channels_last = dtype, channels_last
        self._scale = [1 / (255 * deviation) for deviation in std]
        self._shift = [level / deviation for level, deviation in zip(mean, std, strict=True)]
        # follows the module to its device, but not to half precision, which would blur the constants
        self._place: torch.Tensor
        self.register_buffer(
            "_place", torch.empty(0, dtype=torch.uint8, device=device), persistent=False
        )
        self._constants: dict[torch.device, tuple[torch.Tensor, torch.Tensor]] = {}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return a batch normalised, with the channels second."""
        if images.dtype != torch.uint8 or images.ndim not in (4, 5) or images.shape[-1] != 3:
            raise DreamshardsError(
                f"Normalize: got {images.dtype} {list(images.shape)}; allowed: uint8 [B, H, W, 3] or "
                "[B, T, H, W, 3], as batches come"
            )
        device = self._place.device
        if device not in self._constants:
            self._constants[device] = (
                torch.tensor(self._scale, device=device),
                torch.tensor(self._shift, device=device),
            )
        scale, shift = self._constants[device]
        if device.type == "cuda" and not (images.is_cuda or images.is_pinned()):
            images = images.pin_memory()
        floats = images.to(device, non_blocking=True).float().mul_(scale).sub_(shift)
        channels_second = floats.to(self._dtype).movedim(-1, 1)
        return channels_second if self._channels_last else channels_second.contiguous()
