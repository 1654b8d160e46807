"""Work on a cluster of Dask, or on threads of this process, by the same code."""

from genrescope.audio.scale.engine import Cluster, Engine, Lost, Threads, parse_local

__all__ = ["Cluster", "Engine", "Lost", "Threads", "parse_local"]
