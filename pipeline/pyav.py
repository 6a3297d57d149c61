"""PyAV, which only those who have videos need: where it is imported, and what is said where it is missing."""

from __future__ import annotations

from types import ModuleType

from pipeline.errors import DreamshardsError


def pyav(work: str = "reading videos") -> ModuleType:
    """Return PyAV, for `work` as an error words it.

    Raises:
        DreamshardsError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise DreamshardsError(
            f"{work} needs PyAV, which is not installed; install dreamshards[video]"
        ) from error
    module: ModuleType = av
    return module


def pyav_with_h264(work: str) -> ModuleType:
    """Return PyAV with an encoder of H.264 for `work`.

    Raises:
        DreamshardsError: it is not installed, or has none.
    """
    av = pyav(work)
    try:
        av.codec.Codec("libx264", "w")
    except ValueError as error:
        raise DreamshardsError(
            f"{work} needs the encoder libx264, which PyAV {av.__version__} lacks; install its wheel from "
            "PyPI: pip install --force-reinstall av"
        ) from error
    return av
