"""The models of one LLM: ensemble, preprocessing, engine, postprocessing, on request BLS.

Every name begins with the LLM's, so that any number of them live in one repository.
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
# As many as the engine's batch would all be busy; each takes 64 MiB of shared memory at once.
_BLS_INSTANCES = 16
_GRAMMAR = "1/xgrammar/tokenizer_info.json"
_FOLDER_NOTE = b"""\
This model has no file of its own: it joins the models that ../config.pbtxt names.
Triton wants the version's folder all the same, and version control keeps no empty one.
"""


def entries(made: EngineDeployment) -> tuple[ModelEntry, ...]:
    """The directories to write.

    Raises:
        RecipeError: Settings that the engine was not built for, all at once.
    """
    parameters = engine_parameters(made)
    _require_fit(made, parameters)
    parts = ["preprocessing", "postprocessing", *["bls"] * bool(made.settings.triton.get("bls"))]
    models = {part: _python(made, part) for part in parts}
    engine = _engine(made, parameters)
    first = models.pop("preprocessing")
    return (_ensemble(made), first, engine, *models.values())


def _require_fit(made: EngineDeployment, parameters: Mapping[str, str]) -> None:
    found = conflicts(
        made.engine,
        parameters,
        max_batch_size=made.batch,
        instances=_engines(parameters),
        release=made.tools.trtllm,
        vocab_size=made.spec.vocab_size,
    )
    problems = [f"{conflict.text} ({conflict.fix})" for conflict in found]
    if made.recipe.engine_dir:
        # `max_beam_width` is Triton's as well, and compared with the engine's above.
        built = set(made.recipe.engine) & set(build_options()) - set(triton_parameters())
        problems += [
            f"{name} is built into the engine: leave it out, or build another" for name in built
        ]
    raise_problems(
        sorted(problems),
        f"engine of TensorRT-LLM {made.engine.version or '?'} for Triton {made.tools.triton}",
        "correct --set or the recipe's 'engine:', or give another engine",
    )


def _ensemble(made: EngineDeployment) -> ModelEntry:
    config = pbtxt.model_config(
        name=made.name(),
        platform="ensemble",
        max_batch_size=made.batch,
        **tensors.of_ensemble(made),
    )
    files = (_config_file(made, "", config), RepoFile("1/README.txt", _FOLDER_NOTE))
    return ModelEntry(made.name(), files)


def _engine(made: EngineDeployment, parameters: Mapping[str, str]) -> ModelEntry:
    given = made.settings.triton
    config = pbtxt.model_config(
        name=made.name("tensorrt_llm"),
        backend="tensorrtllm",
        max_batch_size=made.batch,
        model_transaction_policy={"decoupled": made.decoupled},
        dynamic_batching={
            "preferred_batch_size": [made.batch],
            "max_queue_delay_microseconds": given["max_queue_delay_microseconds"],
            "default_queue_policy": {"max_queue_size": given["max_queue_size"]},
        },
        instance_group=[{"count": _engines(parameters), "kind": "KIND_CPU"}],
        **tensors.of_engine(made),
    )
    _put(config, parameters)
    files = [_config_file(made, "tensorrt_llm", config)]
    weights = [WeightsDir("1", artifact=ENGINE)] if ENGINE in made.case.artifacts else []
    if not weights and made.case.checkpoint is not None:
        content = json.dumps(made.engine.document, indent=4).encode() + b"\n"
        files.append(RepoFile(f"1/{CONFIG}", content))
    return ModelEntry(made.name("tensorrt_llm"), tuple(files), tuple(weights))


def _engines(parameters: Mapping[str, str]) -> int:
    """One, or an instance for each set of GPUs or ranks: the backend gives each the next set."""
    sets = (parameters.get(key, "").split(";") for key in ("gpu_device_ids", "participant_ids"))
    return max(map(len, sets))


def engine_parameters(made: EngineDeployment) -> dict[str, str]:
    """The parameters of ``tensorrt_llm`` as the C++ reads them: ours, the profile's, the recipe's.

    Keys that the C++ looks up without a default are there even when they are empty.
    """
    tokenizer = f"{MOUNT}/{made.name('preprocessing')}/1/tokenizer"
    values: dict[str, Any] = {
        "FORCE_CPU_ONLY_INPUT_TENSORS": "no",
        "executor_worker_path": _WORKER,
        "gpt_model_path": f"{MOUNT}/{made.name('tensorrt_llm')}/1",
        "gpt_model_type": "inflight_fused_batching",
        "max_beam_width": made.engine.max_beam_width,
        "exclude_input_in_output": True,
        "enable_kv_cache_reuse": made.engine.paged_context_fmha,
        "enable_chunked_context": made.engine.paged_context_fmha,
        **_guide(made),
        **made.settings.triton,
        "tokenizer_dir": tokenizer if "guided" in made.features else "",
    }
    printed = {}
    for name, row in triton_parameters().items():
        known = row.known_to(made.tools.trtllm, "tensorrt_llm")
        if "tensorrt_llm" not in row.models or row.in_config or not known:
            continue
        if name in values:
            printed[row.key(made.tools.trtllm)] = row.printed(values[name])
        elif row.required:
            printed[name] = ""
    return printed


def _guide(made: EngineDeployment) -> dict[str, Any]:
    """Where the C++ finds what guided decoding must know of the tokenizer."""
    if "guided" not in made.features:
        return {}
    file = f"{MOUNT}/{made.name('preprocessing')}/{_GRAMMAR}"
    return {"xgrammar_tokenizer_info_path": file}


def _tokenizer(made: EngineDeployment, part: str) -> list[RepoFile]:
    """The checkpoint's small files, and for guided decoding the vocabulary, unless the recipe
    names a file of its own."""
    checkpoint = made.case.checkpoint
    if checkpoint is None:
        return []
    files = [RepoFile(f"1/tokenizer/{n}", c) for n, c in tokenizer_files(checkpoint).items()]
    own = "xgrammar_tokenizer_info_path" in made.settings.triton
    if part == "preprocessing" and "guided" in made.features and not own:
        content = tokenizer_info(checkpoint, made.spec.eos_token_ids)
        files.append(RepoFile(_GRAMMAR, content))
    return files


def _python(made: EngineDeployment, part: str) -> ModelEntry:
    table = wiring()[part]
    config = pbtxt.model_config(
        name=made.name(part),
        backend="python",
        max_batch_size=made.batch,
        instance_group=[{"count": _instances(made, part, table), "kind": "KIND_CPU"}],
        **_batching(made, part, table),
        **tensors.of_python(made, part),
    )
    _put(config, _python_parameters(made, part, table))
    copied = (source_file(path) for path in table["files"])
    files = (RepoFile(f"1/{path.name}", path.read_bytes()) for path in copied)
    return ModelEntry(
        made.name(part), (_config_file(made, part, config), *files, *_tokenizer(made, part))
    )


def _instances(made: EngineDeployment, part: str, table: Mapping[str, Any]) -> int:
    """An instance of the BLS holds one request from its start to its end, and its own memory."""
    default = min(made.batch, _BLS_INSTANCES) if part == "bls" else table.get("instances", 1)
    return int(made.settings.triton.get(f"{part}_instance_count", default))


def _batching(made: EngineDeployment, part: str, table: Mapping[str, Any]) -> dict[str, Any]:
    if part == "bls":
        return {"model_transaction_policy": {"decoupled": made.decoupled}}
    batching, given = dict(table["dynamic_batching"]), made.settings.triton
    if delay := given.get(f"{part}_max_queue_delay_microseconds"):
        batching["max_queue_delay_microseconds"] = delay
    if size := given.get(f"{part}_max_queue_size"):
        batching["default_queue_policy"] = {"max_queue_size": size}
    return {"dynamic_batching": batching}


def _python_parameters(
    made: EngineDeployment, part: str, table: Mapping[str, Any]
) -> dict[str, str]:
    """Ours that the model's table asks for, and all of the recipe's that are this model's."""
    ours = {
        "tokenizer_dir": "tokenizer",
        "max_input_len": made.engine.max_input_len,
        "max_seq_len": made.engine.max_seq_len,
        "max_beam_width": made.engine.max_beam_width,
        "tensorrt_llm_model_name": made.name("tensorrt_llm"),
    }
    values = {name: str(value) for name, value in ours.items() if name in table["parameters"]}
    model = "tensorrt_llm_bls" if part == "bls" else part
    for name, value in made.settings.triton.items():
        row = triton_parameters()[name]
        if not row.in_config and (model in row.models or name in table["parameters"]):
            values[name] = row.printed(value)
    return values


def _put(config: Any, parameters: Mapping[str, str]) -> None:
    for name, value in parameters.items():
        config.parameters[name].string_value = value


def _config_file(made: EngineDeployment, part: str, config: Any) -> RepoFile:
    return RepoFile("config.pbtxt", pbtxt.render(config, header=header(made, part)).encode())
