"""Pixels as a pure function of decisions: no randomness, no files. One module per step and family."""

from pipeline.render.mixing import mix
from pipeline.render.ops import apply_op

__all__ = ["apply_op", "mix"]
