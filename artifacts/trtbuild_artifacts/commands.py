"""The commands, as the program lists them; their module is imported when one runs."""

from trtbuild.cli.commands import Command

push = Command(
    "push",
    "Validate a model repository and store it in a registry or an object store.",
    "trtbuild_artifacts.cli",
    after="remove",
)
pull = Command(
    "pull",
    "Fetch a model repository that was pushed, and verify every file.",
    "trtbuild_artifacts.cli",
    after="push",
)
tag = Command(
    "tag",
    "Give a pushed model repository another name, such as production.",
    "trtbuild_artifacts.cli",
    after="pull",
)
