"""The import command, as the program lists it; its module is imported when it runs."""

from trtbuild.cli.commands import Command

import_ = Command(
    "import",
    "Import a TorchServe archive (.mar) into a model repository, without running it.",
    "trtbuild_importing.cli",
)
