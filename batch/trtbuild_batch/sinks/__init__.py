"""Where vectors are kept for search: a Parquet file, LanceDB, PostgreSQL with pgvector, Qdrant."""

from trtbuild_batch.sinks.model import VECTOR, Sink, SinkAddress
from trtbuild_batch.sinks.opening import open_sink, parse

__all__ = ["VECTOR", "Sink", "SinkAddress", "open_sink", "parse"]
