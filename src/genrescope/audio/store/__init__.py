"""Features of many tracks on disk: filling a store, reading it, checking it.

A store is a folder that :func:`genrescope.audio.store.write.extract` fills, or one of partitions,
at any URL, that :func:`genrescope.audio.scale.extract.extract_scaled` does.
"""

from genrescope.audio.store.description import open_description
from genrescope.audio.store.reader import DescriptorTable, FeatureStore, load_frames

__all__ = ["DescriptorTable", "FeatureStore", "load_frames", "open_description"]
