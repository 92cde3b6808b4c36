"""The files of a model of the LLM API: ``config.pbtxt``, ``model.yaml``, our ``model.py``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml

from trtbuild import pbtxt
from trtbuild.plan import RepoFile
from trtbuild.recipe import ModelRecipe
from trtbuild.resources import template_dir
from trtbuild.toolchain import Toolchain

# The server's and TensorRT-LLM's version, but not ours and not the time: the same recipe gives the
# same bytes.
_HEADER = """\
{name}: served by TensorRT-LLM {trtllm} (LLM API, PyTorch backend) in Triton {triton}.
Written by trtbuild. Change the recipe (trtbuild.yaml, --set) and convert again rather than
edit this file: trtbuild.lock has its digest. The arguments of LLM() are in 1/model.yaml.
max_batch_size is 0 because TensorRT-LLM batches by itself; tensors and the decoupled policy are
written out because --disable-auto-complete-config drops what is not."""
_YAML_HEADER = """\
# Arguments of TensorRT-LLM's LLM(), and Triton's own under triton_config. Written by trtbuild.
"""


@cache
def _tensors() -> dict[str, list[dict[str, Any]]]:
    return tomllib.loads(template_dir("trtllm", "tensors.toml").read_text(encoding="utf-8"))


def config_file(recipe: ModelRecipe, toolchain: Toolchain, triton: Mapping[str, Any]) -> RepoFile:
    """Return ``config.pbtxt`` with all tensors of the model."""
    config = pbtxt.model_config(
        name=recipe.name,
        backend="python",
        model_transaction_policy={"decoupled": triton["decoupled"]},
        # The model itself chooses its GPUs, also several for one instance.
        instance_group=[{"count": triton.get("instances", 1), "kind": "KIND_CPU"}],
        input=[{**_tensor(row), "optional": True} for row in _tensors()["input"]],
        output=[_tensor(row) for row in _tensors()["output"]],
    )
    if triton.get("gpu_device_ids"):
        config.parameters["gpu_device_ids"].string_value = triton["gpu_device_ids"]
    header = _HEADER.format(name=recipe.name, trtllm=toolchain.trtllm, triton=toolchain.triton)
    return RepoFile("config.pbtxt", pbtxt.render(config, header=header).encode())


def yaml_file(llm: Mapping[str, Any], triton: Mapping[str, Any]) -> RepoFile:
    """Return ``1/model.yaml``; Triton's own settings are only in config.pbtxt."""
    known = ("max_batch_size", "decoupled", "cancellation_check_period_ms", "adapters")
    document = {**llm, "triton_config": {key: triton[key] for key in known if key in triton}}
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    return RepoFile("1/model.yaml", (_YAML_HEADER + text).encode())


@cache
def model_files() -> tuple[RepoFile, ...]:
    """Return our model.py and its modules, byte for byte; the guard is our vLLM backend's."""
    paths = {path.name: path for path in template_dir("trtllm", "model").glob("*.py")}
    paths["llmapi_guard.py"] = template_dir("backends", "vllm", "backend_guard.py")
    return tuple(RepoFile(f"1/{name}", path.read_bytes()) for name, path in sorted(paths.items()))


def _tensor(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": row["name"], "data_type": row["type"], "dims": row["dims"]}
