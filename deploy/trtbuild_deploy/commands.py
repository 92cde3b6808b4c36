"""The commands, as the program lists them; their modules are imported when they run."""

from trtbuild.cli.commands import Command

deploy = Command(
    "deploy",
    "Write and check the files that run a repository in production: Compose, Helm and others.",
    "trtbuild_deploy.cli.deploy",
)
observe = Command(
    "observe",
    "Write Prometheus rules, Alertmanager routes and a dashboard, over metrics that really exist.",
    "trtbuild_deploy.cli.observe",
)
rollout = Command(
    "rollout",
    "Move users from one live server to another through Envoy, and back if it does worse.",
    "trtbuild_deploy.cli.rollout",
)
