"""Running jobs: on Ray, or in this process. Knows nothing of pictures; the only package that imports Ray."""

from pipeline.executor.base import GO_ON, Crashed, Executor
from pipeline.executor.inline import InlineExecutor
from pipeline.executor.ray import RayExecutor

__all__ = ["GO_ON", "Crashed", "Executor", "InlineExecutor", "RayExecutor"]
