"""`python -m training …` is `dreamshards train …`, for torchrun and debuggers."""

import sys

from pipeline.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
