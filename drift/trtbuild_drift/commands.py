"""The drift command, as the program lists it; its module is imported when it runs."""

from trtbuild.cli.commands import Command

drift = Command(
    "drift",
    "Compare the texts that a model gets now with those of a baseline, by user segment.",
    "trtbuild_drift.cli",
)
