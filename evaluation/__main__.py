"""`python -m evaluation …` is `dreamshards evaluate …`, for debuggers."""

import sys

from pipeline.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
