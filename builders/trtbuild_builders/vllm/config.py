"""``config.pbtxt`` for the vLLM backend."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import Any

from trtbuild import pbtxt
from trtbuild.plan import RepoFile
from trtbuild.recipe import ModelRecipe
from trtbuild.resources import template_dir
from trtbuild.toolchain import Toolchain

# The server's and vLLM's version, not ours and not the time: the same recipe gives the same bytes.
_HEADER = """\
{name}: served by vLLM {vllm} in Triton {triton}.
Written by trtbuild. Change the recipe (trtbuild.yaml, --set) and convert again rather than
edit this file: trtbuild.lock has its digest. Engine arguments are in 1/model.json.
max_batch_size is 0 because vLLM batches by itself; every tensor is written out because
--disable-auto-complete-config drops those that are not."""


@cache
def _tensors() -> dict[str, list[dict[str, Any]]]:
    text = template_dir("vllm", "tensors.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def config_file(recipe: ModelRecipe, toolchain: Toolchain) -> RepoFile:
    """Return ``config.pbtxt`` with all tensors that the release's backend has."""
    config = pbtxt.model_config(
        name=recipe.name,
        backend="vllm",
        model_transaction_policy={"decoupled": True},
        instance_group=[{"count": 1, "kind": "KIND_MODEL"}],
        input=[_tensor(row) for row in _tensors()["input"] if row["since"] <= toolchain.triton],
        output=[_tensor(row) for row in _tensors()["output"] if row["since"] <= toolchain.triton],
    )
    for tensor in config.input[1:]:
        tensor.optional = True
    for key, value in (
        ("REPORT_CUSTOM_METRICS", recipe.metrics),
        ("ENABLE_VLLM_HEALTH_CHECK", recipe.health_check),
    ):
        config.parameters[key].string_value = str(value).lower()
    header = _HEADER.format(name=recipe.name, vllm=toolchain.vllm, triton=toolchain.triton)
    return RepoFile("config.pbtxt", pbtxt.render(config, header=header).encode())


def _tensor(row: dict[str, Any]) -> dict[str, Any]:
    return {"name": row["name"], "data_type": row["type"], "dims": row["dims"]}
