"""The gateway's commands, as the program lists them; each module is imported when it runs."""

from trtbuild.cli.commands import Command

gateway = Command(
    "gateway",
    "Serve OpenAI's API in front of a Triton server.",
    "trtbuild_gateway.cli",
)
keys = Command(
    "keys",
    "Add, list, rotate and revoke the gateway's API keys.",
    "trtbuild_gateway.keys_cli",
)
audit = Command(
    "audit",
    "Check the gateway's audit log.",
    "trtbuild_gateway.audit_cli",
)
models = Command(
    "models",
    "List, load, unload and watch the models behind a gateway.",
    "trtbuild_gateway.models_cli",
)
