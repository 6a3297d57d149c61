"""A small data-parallel training loop over `ShardStream`, run by torchrun from `test_stream_trainers`.

    torchrun … tests/stream_training.py ROOT FOLDER EPOCHS PAUSE

Each rank writes the keys of each step to FOLDER/rank-<r>.jsonl; rank 0 checkpoints every few steps, and a run
that finds a checkpoint goes on from it. PAUSE seconds are slept in each step, so that it can be killed.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from pipeline.stream import CIFAR, Normalize, ShardStream

CHECKPOINT_EVERY = 7


def main(root: str, folder: Path, epochs: int, pause_s: float) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    stream = ShardStream(root, batch_size=16, return_keys=True)
    normalize = Normalize(*CIFAR)
    torch.manual_seed(0)  # the same model on each rank
    model = torch.nn.Linear(3 * 32 * 32, 10)  # torch.optim and DDP would take seconds to import
    checkpoint, first, step = folder / "checkpoint.pt", 0, 0
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        stream.load_state_dict(saved["stream"])
        first, step = saved["stream"]["epoch"], saved["step"]
    with (folder / f"rank-{rank}.jsonl").open("a") as log:
        for epoch in range(first, epochs):
            stream.set_epoch(epoch)
            for images, labels, keys in stream:
                loss = torch.nn.functional.cross_entropy(
                    model(normalize(images).flatten(1)), labels
                )
                model.zero_grad()
                loss.backward()
                with torch.no_grad():
                    for weights in model.parameters():
                        dist.all_reduce(weights.grad)  # unequal numbers of batches would hang here
                        weights -= 0.005 * weights.grad
                step += 1
                log.write(json.dumps({"step": step, "epoch": epoch, "keys": keys}) + "\n")
                log.flush()
                if rank == 0 and step % CHECKPOINT_EVERY == 0:
                    state = {
                        "model": model.state_dict(),
                        "stream": stream.state_dict(),
                        "step": step,
                    }
                    torch.save(state, folder / "next.pt")
                    (folder / "next.pt").rename(checkpoint)
                time.sleep(pause_s)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
