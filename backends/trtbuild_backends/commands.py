"""The command of adapters, as the program lists it; its module is imported when it runs."""

from trtbuild.cli.commands import Command

adapters = Command(
    "adapters",
    "List the adapters of a model registry and install them in advance.",
    "trtbuild_backends.cli",
)
