"""The checklist that add_release.py ends with: what no script can read, or could not this time."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import upstream


def left(
    row: Mapping[str, Any], lacking: Sequence[str], new: Sequence[str], data: Path
) -> list[str]:
    """What is left to do, each with the command or the file.

    Args:
        row: The release.
        lacking: The tables that do not have it yet.
        new: The multimodal architectures that came with it.
        data: The directory of the tables.
    """
    release, found = row["triton"], []
    for name in row.get("unconfirmed", ()):
        found.append(f"Confirm {name} = {row[name]!r} in src/trtbuild/data/toolchains.toml.")
    if "trtllm_llm_args" in lacking:
        found.append(
            f"Read the arguments of LLM(): fetch tensorrt_llm/llmapi/llm_args.py and "
            f"docs/source/models/supported-models.md of the tag v{row['trtllm']}, then python "
            f"scripts/add_trtllm_llm_args.py {row['trtllm']} llm_args.py --models "
            "supported-models.md."
        )
    if "transformers.json of TensorRT-LLM" in lacking:
        found.append(
            f"Look up the transformers of TensorRT-LLM {row['trtllm']}, then python "
            f"scripts/add_transformers.py --trtllm {row['trtllm']}=VERSION."
        )
    runtime = _table(data, "onnxruntime.toml")["releases"].get(release)
    if runtime is None:
        found.append(f"Add ONNX Runtime of {release} to src/trtbuild/data/onnxruntime.toml.")
    elif "onnxruntime.toml" in lacking:
        found.append(
            f"Measure what ONNX Runtime {runtime} reads, once PyPI has it: "
            "python scripts/measure_onnxruntime.py --missing."
        )
    if new:
        found.append(
            "Move those of the new multimodal architectures whose only other input is sound to "
            f"audio in src/trtbuild/data/architectures.toml: {', '.join(new)}."
        )
    return [
        *found,
        "Read the new fields of config.pbtxt, once tritonclient "
        f"{row['server_version']} is published: python scripts/add_model_config_fields.py.",
        advisories(row, data),
        f"Make {release} the default, if it is confirmed: DEFAULT_TRITON in "
        "src/trtbuild/recipe/names.py, TRITON_TAG in Dockerfile, and the golden files "
        "(scripts/regenerate_sample_goldens.py).",
        "Run make lint unit, and read the diff of docs/reference/supported-models.md.",
    ]


def advisories(row: Mapping[str, Any], data: Path) -> str:
    """What to look for in the bulletins, with what PyPI knows of vLLM and no row names."""
    task = (
        "Read the new bulletins on Triton and TensorRT-LLM at "
        "https://github.com/NVIDIA/product-security and the advisories of vLLM, and set as_of in "
        "src/trtbuild/data/advisories.toml."
    )
    if not row["vllm"]:
        return task
    try:
        found = upstream.advisories("vllm", row["vllm"])
    except (OSError, ValueError) as error:
        return f"{task} PyPI was not asked for those of vLLM {row['vllm']} ({error})."
    listed = [name for one in _table(data, "advisories.toml")["advisory"] for name in one["ids"]]
    names = ", ".join(upstream.unlisted(found, listed))
    return f"{task} Those of vLLM {row['vllm']} on PyPI without a row: {names or 'none'}."


def _table(data: Path, name: str) -> dict[str, Any]:
    return tomllib.loads((data / name).read_text(encoding="utf-8"))
