"""The command, as the program lists it; its module is imported when it runs."""

from trtbuild.cli.commands import Command

quantize = Command(
    "quantize",
    "Quantize a checkpoint with NVIDIA ModelOpt, on a GPU or the CPU.",
    "trtbuild_checkpoints.cli",
    after="convert",
)
