"""``trtbuild quantize``: smaller weights, by NVIDIA ModelOpt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtbuild.cli import options

if TYPE_CHECKING:
    from trtbuild_checkpoints.quantize import Quantized

_EPILOG = """
Examples

  trtbuild quantize Qwen/Qwen2.5-7B-Instruct --format fp8 --out ./qwen-fp8

  trtbuild quantize ./llama --format nvfp4 --out ./llama-nvfp4 --calibration chats.jsonl

  trtbuild quantize sample:smollm2 --format fp8 --kv-cache fp8 --out ./smollm2-fp8
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("quantize", epilog=_EPILOG)(quantize)


def quantize(
    source: options.Source,
    *,
    format_name: Annotated[
        str,
        typer.Option("--format", help="Number format: fp8, nvfp4, int4_awq, w4a8_awq or mxfp8."),
    ],
    out: Annotated[Path, typer.Option(help="Output directory; an older result is replaced.")],
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="File of texts: .txt paragraphs, .jsonl or .json; default: built-in texts."
        ),
    ] = None,
    samples: Annotated[int, typer.Option(help="Maximum number of texts to use.")] = 128,
    length: Annotated[
        int, typer.Option(help="Maximum number of tokens to use of each text.")
    ] = 512,
    kv_cache: Annotated[str, typer.Option(help="fp8: also quantize the KV cache.")] = "",
    as_json: options.AsJson = False,
) -> None:
    """Quantize a checkpoint with NVIDIA ModelOpt, on a GPU or the CPU.

    The first run installs ModelOpt's own environment (trtbuild runtime install modelopt).
    The result is a Hugging Face checkpoint: convert it like any other.
    """
    from trtbuild.cli.output import print_json, progress
    from trtbuild_checkpoints.quantize import quantize as run

    with progress() as bars:
        made = run(
            source,
            out,
            format_name=format_name,
            calibration=calibration,
            samples=samples,
            length=length,
            kv_cache=kv_cache,
            progress=bars,
        )
    if as_json:
        print_json(made)
    else:
        _print(made)


def _print(quantized: Quantized) -> None:
    from trtbuild.cli.output import human_bytes

    before, after = human_bytes(quantized.before), human_bytes(quantized.after)
    sizes = f"{after} instead of {before}, {quantized.seconds:.0f} s"
    typer.echo(f"{quantized.out}: {quantized.format.algo}, {sizes}")
    if quantized.texts:
        typer.echo(f"  scales measured on {quantized.texts} texts")
    engines = [name for name in ("trtllm", "vllm") if getattr(quantized.format, name)]
    typer.echo(f"  serve it with {' or '.join(engines)}, on GPUs from SM {quantized.format.sm} on")
    typer.echo(f"  next: trtbuild convert {quantized.out} --backend {engines[0]}")
