"""Image files on disk: listed, counted, split and told from others, without jax and without decoding one."""

from scalelaw.sweep.disk import exclusion
from scalelaw.sweep.disk.base import ImageSet
from scalelaw.sweep.disk.split import Split, complete, is_there, split, split_order

SOURCES = ("folder", "parquet", "arrayrecord")

__all__ = ["SOURCES", "ImageSet", "Split", "complete", "exclusion", "is_there", "split", "split_order"]
