"""The batch command, as the program lists it; its module is imported when it runs."""

from trtbuild.cli.commands import Command

batch = Command(
    "batch",
    "Ask a served model about every row of a table, and resume after a crash.",
    "trtbuild_batch.cli",
)
