"""Materialise augmented epochs as shards: plan every decision, render pixels, pack and commit."""

__version__ = "0.1.0"
