"""Arguments and options that several commands share, said once."""

from __future__ import annotations

from typing import Annotated

import typer

Source = Annotated[
    str, typer.Argument(help="Hub id (org/name@revision), directory, .gguf file or sample:NAME.")
]
Name = Annotated[str, typer.Option(help="Model name; default: derived from the source.")]
Backend = Annotated[str, typer.Option(help="Name of a builder, or auto.")]
Triton = Annotated[str, typer.Option(help="Triton release YY.MM; default 26.07.")]
Dtype = Annotated[
    str, typer.Option(help="Number format for a .gguf or sample source: float32 or bfloat16.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Engine argument key=value; repeatable.")
]
Quantize = Annotated[str, typer.Option(help="int8 or fp16: number format of an exported graph.")]
Accelerator = Annotated[
    str, typer.Option(help="tensorrt or openvino: what runs an exported graph.")
]
Weights = Annotated[str, typer.Option(help="copy: into the repository; hub: load from the cache.")]
Adapters = Annotated[
    list[str] | None,
    typer.Option("--adapter", help="LoRA adapter NAME=DIRECTORY or hub id; repeatable."),
]
EngineDir = Annotated[
    str, typer.Option("--engine", help="Directory of an existing TensorRT engine.")
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Accept a checkpoint that contains Python code.")
]
AllowPickle = Annotated[
    bool,
    typer.Option("--allow-pickle", help="Accept .bin weights, which can run code when loaded."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Replace another model of that name, and edited files.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be written, and write nothing.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
