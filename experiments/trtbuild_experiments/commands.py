"""The ab command, as the program lists it; its module is imported when it runs."""

from trtbuild.cli.commands import Command

ab = Command(
    "ab",
    "Compare models by what their users do: plan an experiment, then report its result.",
    "trtbuild_experiments.cli",
)
