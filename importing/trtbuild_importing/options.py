"""The options of the command; the command line makes its flags from them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtbuild import pbtxt
from trtbuild.cli.fields import option
from trtbuild.errors import UsageError
from trtbuild.recipe import DEFAULT_TRITON

_TENSOR = re.compile(r"([A-Z0-9]+)\[([-\d, ]*)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What is imported, and where to."""

    archive: Path = option(
        ..., "A .mar file (zip or tar.gz), or the directory it was made from.", argument=True
    )
    name: str = option("", "Model name; default: the archive's modelName.")
    repo: Path = option(Path("model_repository"), "The model repository.")
    triton: str = option("", "Triton release YY.MM; default 26.07.")
    input: tuple[str, ...] = option(
        (), "An input of a TorchScript file, such as FP32[3,224,224]; in order, repeatable."
    )
    output: tuple[str, ...] = option((), "An output, likewise, such as FP32[-1].")
    keep_handler: bool = option(
        False, "Run the archive's handler although a builder could serve the model."
    )
    allow_pickle: bool = option(
        False, "Convert .bin weights of a checkpoint, which can run code when loaded."
    )
    allow_outside: bool = option(
        False,
        "Use what the archive names outside itself: a directory here, a repository of the hub, "
        "engine arguments that may name files or code.",
    )
    force: bool = option(False, "Replace another model of that name, and edited files.")

    @property
    def release(self) -> str:
        """The Triton release."""
        return self.triton or DEFAULT_TRITON

    def tensors(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the inputs and outputs that were given, as config.pbtxt has them.

        Raises:
            UsageError: One that is not a tensor, or only one of the two options.
        """
        if bool(self.input) != bool(self.output):
            raise UsageError(
                "--input and --output belong together",
                fix="write --input 'FP32[3,224,224]' --output 'FP32[-1]'",
            )
        return (
            [_tensor(text, f"INPUT__{at}") for at, text in enumerate(self.input)],
            [_tensor(text, f"OUTPUT__{at}") for at, text in enumerate(self.output)],
        )


def _tensor(text: str, name: str) -> dict[str, Any]:
    match = _TENSOR.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        kind = pbtxt.data_type(f"TYPE_{match[1]}")
        dims = [int(size) for size in match[2].split(",") if size]
        if not all(size == -1 or 0 < size < 1 << 31 for size in dims):
            raise ValueError
        return {"name": name, "data_type": kind, "dims": dims}
    except ValueError:
        raise UsageError(
            f"{text!r} is not a tensor",
            fix="write a type of Triton and the sizes without the batch, such as FP32[3,224,224]",
        ) from None
