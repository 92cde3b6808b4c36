"""Arguments and options that several commands share, said once."""

from __future__ import annotations

from typing import Annotated

import typer

Source = Annotated[
    str, typer.Argument(help="Hub id (org/name@revision), directory, .gguf file or sample:NAME.")
]
Name = Annotated[str, typer.Option(help="Model name; default from the source.")]
Backend = Annotated[str, typer.Option(help="A builder's name, or auto.")]
Triton = Annotated[str, typer.Option(help="Triton release YY.MM; default 26.07.")]
Dtype = Annotated[
    str, typer.Option(help="Weights of a .gguf or sample source: float32 or bfloat16.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Engine argument key=value; repeatable.")
]
Weights = Annotated[
    str, typer.Option(help="copy into the repository, or hub: leave them in the cache.")
]
Adapters = Annotated[
    list[str] | None, typer.Option(help="LoRA adapter NAME=DIRECTORY or hub id; repeatable.")
]
EngineDir = Annotated[
    str, typer.Option("--engine", help="Directory of a TensorRT engine that is built already.")
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Accept a checkpoint that brings code.")
]
AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle", help="Accept .bin weights, which can run code.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Replace a model of that name, and edited files.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be written; write nothing.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
