"""Mixing sets: the pictures that samples are mixed with, decoded or generated once."""
