"""``trtbuild inspect``: what a checkpoint is, from its metadata and headers alone."""

from __future__ import annotations

import typer

from trtbuild.cli import options

_EPILOG = """
Examples

  trtbuild inspect sample:smollm2

  trtbuild inspect Qwen/Qwen2.5-0.5B-Instruct@main --json

  trtbuild inspect ./my-checkpoint

  trtbuild inspect model.Q4_K_M.gguf --dtype bfloat16
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("inspect", epilog=_EPILOG)(inspect)


def inspect(
    source: options.Source,
    *,
    dtype: options.Dtype = "",
    allow_pickle: options.AllowPickle = False,
    trust_remote_code: options.TrustRemoteCode = False,
    as_json: options.AsJson = False,
) -> None:
    """Describe a checkpoint: architecture, size, quantization, context, KV cache.

    Reads only metadata and tensor headers (for a hub id, fetches them), never weights, and runs
    nothing from the checkpoint.
    """
    from trtbuild import checkpoint as checkpoints
    from trtbuild.cli.output import print_json, progress

    with progress() as reporter:
        opened = checkpoints.open_checkpoint(
            source,
            dtype=dtype,
            allow_pickle=allow_pickle,
            trust_remote_code=trust_remote_code,
            progress=reporter,
        )
        spec = checkpoints.inspect(opened, trust_remote_code=trust_remote_code)
    from trtbuild.cli.inspect_view import as_object, print_spec

    if as_json:
        print_json(as_object(opened, spec))
    else:
        print_spec(opened, spec)
