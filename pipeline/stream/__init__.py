"""Reading a root into training: the one part of `pipeline` that needs torch.

`ShardDataset` is a map-style dataset; `ShardStream` reads whole batches straight through, resumable; both
from a folder or an object store. `LiveStream` renders the same batches from a recipe, as they are asked for;
`Normalize` turns uint8 batches into floats on the device.
"""

try:
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        "pipeline.stream needs torch, which the base install leaves out; install dreamshards[train]"
    ) from error

from pipeline.stream.dataset import ShardDataset
from pipeline.stream.live import LiveStream
from pipeline.stream.normalize import CIFAR, IMAGENET, KINETICS, Normalize
from pipeline.stream.samples import Batch, KeyedBatch, KeyedSample, Sample, positions_of
from pipeline.stream.stream import ShardStream

__all__ = [
    "CIFAR",
    "IMAGENET",
    "KINETICS",
    "Batch",
    "KeyedBatch",
    "KeyedSample",
    "LiveStream",
    "Normalize",
    "Sample",
    "ShardDataset",
    "ShardStream",
    "positions_of",
]
