"""The engine flow's commands, as the program lists them; each module is imported when it runs."""

from trtbuild.cli.commands import Command

checkpoint = Command(
    "checkpoint",
    "Convert a checkpoint into the one that trtllm-build compiles engines from.",
    "trtbuild_engine_flow.cli.checkpoint",
)
launch = Command(
    "launch",
    "Print the command that starts every rank of a repository, or run it.",
    "trtbuild_engine_flow.cli.launch",
)
migrate = Command(
    "migrate",
    "Write the LLM API's form of a repository that serves TensorRT engines.",
    "trtbuild_engine_flow.cli.migrate",
)
