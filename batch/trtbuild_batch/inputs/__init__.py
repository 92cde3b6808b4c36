"""The rows of the input, read in order, a part at a time."""

from trtbuild_batch.inputs.finding import find_files
from trtbuild_batch.inputs.model import InputFile, Row
from trtbuild_batch.inputs.source import Source, open_source

__all__ = ["InputFile", "Row", "Source", "find_files", "open_source"]
