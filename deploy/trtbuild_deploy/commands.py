"""The command, as the program lists it; its module is imported when it runs."""

from trtbuild.cli.commands import Command

deploy = Command(
    "deploy",
    "Write what runs a repository in production: Compose, Helm and others, checked offline.",
    "trtbuild_deploy.cli.deploy",
)
