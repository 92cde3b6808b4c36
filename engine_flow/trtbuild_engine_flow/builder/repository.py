"""The models of one LLM: ensemble, preprocessing, engine, postprocessing, optionally BLS.

Every name begins with the LLM's, so that a repository can have any number of LLMs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trtbuild import pbtxt
from trtbuild.checkpoint import tokenizer_files
from trtbuild.plan import ModelEntry, RepoFile, WeightsDir
from trtbuild.recipe import raise_problems
from trtbuild_engine_flow.builder import tensors
from trtbuild_engine_flow.builder.deployment import EngineDeployment
from trtbuild_engine_flow.builder.headers import header
from trtbuild_engine_flow.builder.tables import source_file, wiring
from trtbuild_engine_flow.engineconfig import CONFIG, conflicts
from trtbuild_engine_flow.engines.artifact import ENGINE
from trtbuild_engine_flow.engines.guided import tokenizer_info
from trtbuild_engine_flow.parameters import build_options, triton_parameters

# Where containers see the repository; the rehearsal and the launcher map it.
MOUNT = "/models"
_WORKER = "/opt/tritonserver/backends/tensorrtllm/trtllmExecutorWorker"
# A limit below the engine's batch size, because each takes 64 MiB of shared memory at start.
_BLS_INSTANCES = 16
_GRAMMAR = "1/xgrammar/tokenizer_info.json"
_FOLDER_NOTE = b"""\
This model has no file of its own: it joins the models that ../config.pbtxt names.
Triton wants the version's folder all the same, and version control keeps no empty one.
"""


def entries(deployment: EngineDeployment) -> tuple[ModelEntry, ...]:
    """Return the directories to write.

    Raises:
        RecipeError: Settings that the engine does not support, all at once.
    """
    parameters = engine_parameters(deployment)
    _require_fit(deployment, parameters)
    parts = [
        "preprocessing",
        "postprocessing",
        *["bls"] * bool(deployment.settings.triton.get("bls")),
    ]
    models = {part: _python(deployment, part) for part in parts}
    engine = _engine(deployment, parameters)
    first = models.pop("preprocessing")
    return (_ensemble(deployment), first, engine, *models.values())


def _require_fit(deployment: EngineDeployment, parameters: Mapping[str, str]) -> None:
    found = conflicts(
        deployment.engine,
        parameters,
        max_batch_size=deployment.batch,
        instances=_engines(parameters),
        release=deployment.tools.trtllm,
        vocab_size=deployment.spec.vocab_size,
    )
    problems = [f"{conflict.text} ({conflict.fix})" for conflict in found]
    if deployment.recipe.engine_dir:
        # `max_beam_width` is Triton's as well, and compared with the engine's above.
        built = set(deployment.recipe.engine) & set(build_options()) - set(triton_parameters())
        problems += [
            f"{name} is built into the engine: leave it out, or build another" for name in built
        ]
    engine = deployment.engine.version or "?"
    raise_problems(
        sorted(problems),
        f"engine of TensorRT-LLM {engine} for Triton {deployment.tools.triton}",
        "correct --set or the recipe's 'engine:', or give another engine",
    )


def _ensemble(deployment: EngineDeployment) -> ModelEntry:
    config = pbtxt.model_config(
        name=deployment.name(),
        platform="ensemble",
        max_batch_size=deployment.batch,
        **tensors.of_ensemble(deployment),
    )
    files = (_config_file(deployment, "", config), RepoFile("1/README.txt", _FOLDER_NOTE))
    return ModelEntry(deployment.name(), files)


def _engine(deployment: EngineDeployment, parameters: Mapping[str, str]) -> ModelEntry:
    given = deployment.settings.triton
    config = pbtxt.model_config(
        name=deployment.name("tensorrt_llm"),
        backend="tensorrtllm",
        max_batch_size=deployment.batch,
        model_transaction_policy={"decoupled": deployment.decoupled},
        dynamic_batching={
            "preferred_batch_size": [deployment.batch],
            "max_queue_delay_microseconds": given["max_queue_delay_microseconds"],
            "default_queue_policy": {"max_queue_size": given["max_queue_size"]},
        },
        instance_group=[{"count": _engines(parameters), "kind": "KIND_CPU"}],
        **tensors.of_engine(deployment),
    )
    _put(config, parameters)
    files = [_config_file(deployment, "tensorrt_llm", config)]
    weights = [WeightsDir("1", artifact=ENGINE)] if ENGINE in deployment.case.artifacts else []
    if not weights and deployment.case.checkpoint is not None:
        content = json.dumps(deployment.engine.document, indent=4).encode() + b"\n"
        files.append(RepoFile(f"1/{CONFIG}", content))
    return ModelEntry(deployment.name("tensorrt_llm"), tuple(files), tuple(weights))


def _engines(parameters: Mapping[str, str]) -> int:
    """Return instances: one, or one for each set of GPUs or ranks, assigned in order."""
    sets = (parameters.get(key, "").split(";") for key in ("gpu_device_ids", "participant_ids"))
    return max(map(len, sets))


def engine_parameters(deployment: EngineDeployment) -> dict[str, str]:
    """The parameters of ``tensorrt_llm`` as the C++ reads them: ours, the profile's, the recipe's.

    Keys that the C++ looks up without a default are there even when they are empty.
    """
    tokenizer = f"{MOUNT}/{deployment.name('preprocessing')}/1/tokenizer"
    values: dict[str, Any] = {
        "FORCE_CPU_ONLY_INPUT_TENSORS": "no",
        "executor_worker_path": _WORKER,
        "gpt_model_path": f"{MOUNT}/{deployment.name('tensorrt_llm')}/1",
        "gpt_model_type": "inflight_fused_batching",
        "max_beam_width": deployment.engine.max_beam_width,
        "exclude_input_in_output": True,
        "enable_kv_cache_reuse": deployment.engine.paged_context_fmha,
        "enable_chunked_context": deployment.engine.paged_context_fmha,
        **_guide(deployment),
        **deployment.settings.triton,
        "tokenizer_dir": tokenizer if "guided" in deployment.features else "",
    }
    printed = {}
    for name, row in triton_parameters().items():
        known = row.known_to(deployment.tools.trtllm, "tensorrt_llm")
        if "tensorrt_llm" not in row.models or row.in_config or not known:
            continue
        if name in values:
            printed[row.key(deployment.tools.trtllm)] = row.printed(values[name])
        elif row.required:
            printed[name] = ""
    return printed


def _guide(deployment: EngineDeployment) -> dict[str, Any]:
    """Return the tokenizer file for guided decoding in the C++ backend."""
    if "guided" not in deployment.features:
        return {}
    file = f"{MOUNT}/{deployment.name('preprocessing')}/{_GRAMMAR}"
    return {"xgrammar_tokenizer_info_path": file}


def _tokenizer(deployment: EngineDeployment, part: str) -> list[RepoFile]:
    """The checkpoint's small files, and for guided decoding the vocabulary, unless the recipe
    names a file of its own."""
    checkpoint = deployment.case.checkpoint
    if checkpoint is None:
        return []
    files = [RepoFile(f"1/tokenizer/{n}", c) for n, c in tokenizer_files(checkpoint).items()]
    own = "xgrammar_tokenizer_info_path" in deployment.settings.triton
    if part == "preprocessing" and "guided" in deployment.features and not own:
        content = tokenizer_info(checkpoint, deployment.spec.eos_token_ids)
        files.append(RepoFile(_GRAMMAR, content))
    return files


def _python(deployment: EngineDeployment, part: str) -> ModelEntry:
    table = wiring()[part]
    config = pbtxt.model_config(
        name=deployment.name(part),
        backend="python",
        max_batch_size=deployment.batch,
        instance_group=[{"count": _instances(deployment, part, table), "kind": "KIND_CPU"}],
        **_batching(deployment, part, table),
        **tensors.of_python(deployment, part),
    )
    _put(config, _python_parameters(deployment, part, table))
    copied = (source_file(path) for path in table["files"])
    files = (RepoFile(f"1/{path.name}", path.read_bytes()) for path in copied)
    return ModelEntry(
        deployment.name(part),
        (_config_file(deployment, part, config), *files, *_tokenizer(deployment, part)),
    )


def _instances(deployment: EngineDeployment, part: str, table: Mapping[str, Any]) -> int:
    """Return the instances of a part; one of the BLS is busy for a whole request."""
    default = min(deployment.batch, _BLS_INSTANCES) if part == "bls" else table.get("instances", 1)
    return int(deployment.settings.triton.get(f"{part}_instance_count", default))


def _batching(deployment: EngineDeployment, part: str, table: Mapping[str, Any]) -> dict[str, Any]:
    if part == "bls":
        return {"model_transaction_policy": {"decoupled": deployment.decoupled}}
    batching, given = dict(table["dynamic_batching"]), deployment.settings.triton
    if delay := given.get(f"{part}_max_queue_delay_microseconds"):
        batching["max_queue_delay_microseconds"] = delay
    if size := given.get(f"{part}_max_queue_size"):
        batching["default_queue_policy"] = {"max_queue_size": size}
    return {"dynamic_batching": batching}


def _python_parameters(
    deployment: EngineDeployment, part: str, table: Mapping[str, Any]
) -> dict[str, str]:
    """Ours that the model's table asks for, and all of the recipe's that are this model's."""
    ours = {
        "tokenizer_dir": "tokenizer",
        "max_input_len": deployment.engine.max_input_len,
        "max_seq_len": deployment.engine.max_seq_len,
        "max_beam_width": deployment.engine.max_beam_width,
        "tensorrt_llm_model_name": deployment.name("tensorrt_llm"),
    }
    values = {name: str(value) for name, value in ours.items() if name in table["parameters"]}
    model = "tensorrt_llm_bls" if part == "bls" else part
    for name, value in deployment.settings.triton.items():
        row = triton_parameters()[name]
        if not row.in_config and (model in row.models or name in table["parameters"]):
            values[name] = row.printed(value)
    return values


def _put(config: Any, parameters: Mapping[str, str]) -> None:
    for name, value in parameters.items():
        config.parameters[name].string_value = value


def _config_file(deployment: EngineDeployment, part: str, config: Any) -> RepoFile:
    return RepoFile("config.pbtxt", pbtxt.render(config, header=header(deployment, part)).encode())
