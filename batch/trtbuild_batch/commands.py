"""The commands of this package, as the program lists them; a module is imported when it runs."""

from trtbuild.cli.commands import Command

batch = Command(
    "batch",
    "Ask a served model about every row of a table, and resume after a crash.",
    "trtbuild_batch.cli",
)
worker = Command(
    "worker",
    "Answer the requests of a queue with a served model until SIGTERM or Ctrl-C.",
    "trtbuild_batch.cli.worker",
)
