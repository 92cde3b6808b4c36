"""``trtbuild checkpoint``: a TensorRT-LLM checkpoint, made without TensorRT-LLM."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trtbuild.cli import options

if TYPE_CHECKING:
    from trtbuild_engine_flow.engines.checkpoint import MadeCheckpoint

_EPILOG = """
Examples

  trtbuild checkpoint ./Llama-3.1-8B --out ./ckpt --dtype bfloat16

  trtbuild checkpoint Qwen/Qwen2.5-7B-Instruct --out ./ckpt --dtype float16 --tp 2

  trtbuild checkpoint ./Llama-3.1-70B --out ./ckpt --tp 4 --pp 2 --dry-run --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("checkpoint", epilog=_EPILOG)(checkpoint)


def checkpoint(
    source: options.Source,
    *,
    out: Annotated[
        Path, typer.Option(help="Directory to create; an older checkpoint is replaced.")
    ],
    dtype: Annotated[
        str, typer.Option(help="float16, bfloat16 or float32; default: the checkpoint's own.")
    ] = "",
    tp: Annotated[int, typer.Option(help="Ranks that share every matrix.")] = 1,
    pp: Annotated[int, typer.Option(help="Stages that share the layers.")] = 1,
    triton: options.Triton = "26.07",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only plan, from headers alone.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Convert a checkpoint into the one that trtllm-build compiles engines from.

    Writes config.json and one safetensors file for each GPU, as TensorRT-LLM's own converter
    does. Needs neither a GPU nor TensorRT-LLM, and a few hundred megabytes of memory whatever
    the model's size.
    """
    from trtbuild.cli.output import print_json, progress
    from trtbuild_engine_flow.engines.checkpoint import make_checkpoint, release_of

    with progress() as bars:
        made = make_checkpoint(
            source,
            out,
            dtype=dtype,
            tp=tp,
            pp=pp,
            release=release_of(triton),
            dry_run=dry_run,
            progress=bars,
        )
    if as_json:
        print_json(_as_object(made))
    else:
        _print(made)


def _as_object(checkpoint: MadeCheckpoint) -> dict[str, Any]:
    from trtbuild_engine_flow.converter.writing import header

    result = checkpoint.result
    sizes = {
        rank.name: len(header(rank)) + sum(target.size for target in rank.targets)
        for rank in checkpoint.layout.ranks
    }
    return {
        "status": "written" if result else "planned",
        "source": checkpoint.spec.source,
        "out": checkpoint.out,
        "dtype": checkpoint.dtype,
        "tp": checkpoint.tp,
        "pp": checkpoint.pp,
        "tensorrt_llm": checkpoint.release,
        "proof": checkpoint.proof,
        "files": result.files if result else sizes,
        "tensors": sum(len(rank.targets) for rank in checkpoint.layout.ranks),
        "seconds": result.seconds if result else 0.0,
        "config": checkpoint.layout.config,
    }


def _print(checkpoint: MadeCheckpoint) -> None:
    from trtbuild.cli.output import human_bytes

    size = human_bytes(checkpoint.result.size if checkpoint.result else checkpoint.layout.size)
    ranks = len(checkpoint.layout.ranks)
    done = (
        f"written in {checkpoint.result.seconds:.1f} s"
        if checkpoint.result
        else "planned, nothing written"
    )
    typer.echo(f"{checkpoint.out}: {ranks} rank file{'s' * (ranks > 1)}, {size}, {done}")
    parallel = f"tp {checkpoint.tp}, pp {checkpoint.pp}"
    typer.echo(f"  {checkpoint.spec.architecture}, {checkpoint.dtype}, {parallel}")
    if checkpoint.proof == "golden":
        typer.echo("  this family's files equal TensorRT-LLM's own, bit for bit")
    else:
        typer.echo("  this family follows TensorRT-LLM's source; no file of its own was compared")
    if checkpoint.result:
        typer.echo(f"  next: trtllm-build --checkpoint_dir {checkpoint.out} …")
