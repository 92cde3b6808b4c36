"""The command of adapters, as the program lists it; its module is imported when it runs."""

from trtbuild.cli.commands import Command

adapters = Command(
    "adapters",
    "List a model registry's adapters, install them in advance, and remove old ones.",
    "trtbuild_backends.cli",
)
