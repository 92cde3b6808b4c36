"""TensorRT-LLM's LLM API: what its Triton model reads from model.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtbuild import recipe, toolchain
from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example
from trtbuild.check.model import Severity
from trtbuild.located.text import LocatedText
from trtbuild_rules.readers.modelyaml import NAME, all_files, llm_api_files
from trtbuild_rules.readers.named_directories import named_directories
from trtbuild_rules.readers.served import is_hub_id, local_folder, trtllm_release_of
from trtbuild_rules.readers.tokenizing import settings

if TYPE_CHECKING:
    from trtbuild.toolchain import Route

_GPUS = "gpu_device_ids"
_SOUND = """\
model: org/name
revision: 0123456789abcdef0123456789abcdef01234567
triton_config:
  max_batch_size: 0
  decoupled: true
"""
_CONFIG = "max_batch_size: 0\nmodel_transaction_policy { decoupled: true }\n"


def _yaml(text: str, config: str = "") -> Example:
    return Example(_CONFIG + config, files={f"m/1/{NAME}": text})


def _quantized(algorithm: str) -> dict[str, str]:
    declared = f'{{ "quant_method": "modelopt", "quant_algo": "{algorithm}" }}'
    return {
        f"m/1/{NAME}": "model: /models/m/1/weights\n",
        "m/1/weights/config.json": f'{{ "quantization_config": {declared} }}',
    }


@rule(
    "TRT711",
    "model.yaml is a mapping that names the model",
    fix="write model: and the LLM() arguments, one key per line",
    backends=("python",),
    bad=[_yaml("model: [unclosed\n"), _yaml("dtype: float16\n")],
    good=_yaml(_SOUND),
)
def is_mapping(model: Model) -> Problems:
    """Every key but ``triton_config`` is an argument of TensorRT-LLM's ``LLM()``."""
    for text in all_files(model):
        if text.problem:
            yield Problem(f"{text.file} is not usable: {text.problem}", text.at, file=text.file)
        elif not isinstance(text.value.get("model"), str) or not text.value["model"]:
            yield Problem(f"{text.file} has no 'model'", text.of("model"), file=text.file)


@rule(
    "TRT716",
    "every argument in model.yaml is one of the release's LLM(), and of its type",
    fix="correct or remove it",
    backends=("python",),
    bad=[
        Example(_CONFIG, {f"m/1/{NAME}": _SOUND + "max_sequence_len: 4096\n"}, triton="26.07"),
        Example(
            _CONFIG,
            {f"m/1/{NAME}": _SOUND + "kv_cache_config:\n  free_gpu_memory: 0.9\n"},
            triton="26.07",
        ),
        Example(
            _CONFIG,
            {f"m/1/{NAME}": _SOUND + "speculative_config:\n  decoding_type: Eagel\n"},
            triton="26.07",
        ),
    ],
    good=Example(
        _CONFIG,
        {
            f"m/1/{NAME}": _SOUND
            + "max_seq_len: 4096\nkv_cache_config:\n  free_gpu_memory_fraction: 0.9\n"
        },
        triton="26.07",
    ),
)
def llm_arguments(model: Model) -> Problems:
    """TensorRT-LLM rejects an argument that it does not know, and the model is not loaded.
    Checked when the release and its arguments are known, from the lock or ``--triton``."""
    release = trtllm_release_of(model)
    if release not in toolchain.trtllm_versions():
        return
    table = toolchain.trtllm_release(release)
    for text in llm_api_files(model):
        given = {key: value for key, value in text.value.items() if key != "triton_config"}
        for where, said in recipe.llm_findings(given, table):
            yield Problem(f"TensorRT-LLM {release}: {said}", text.of(where), file=text.file)


@rule(
    "TRT712",
    "no key of model.yaml is given twice",
    fix="keep one of them",
    severity=Severity.WARNING,
    backends=("python",),
    bad=_yaml(_SOUND + "dtype: float16\ndtype: bfloat16\n"),
    good=_yaml(_SOUND + "dtype: float16\n"),
)
def repeated_keys(model: Model) -> Problems:
    """YAML silently keeps the last of two equal keys."""
    for text in llm_api_files(model):
        for key, at in text.repeated:
            yield Problem(f"{key!r} is given twice; the last one counts", at, file=text.file)


@rule(
    "TRT713",
    "model.yaml and config.pbtxt agree on batches and streaming",
    fix="write the same max_batch_size and decoupled into both",
    severity=Severity.WARNING,
    backends=("python",),
    bad=Example(
        "max_batch_size: 0\nmodel_transaction_policy { decoupled: false }\n",
        files={f"m/1/{NAME}": _SOUND},
    ),
    good=_yaml(_SOUND),
)
def triton_config(model: Model) -> Problems:
    """A server that does not complete configurations never reads ``triton_config``: a model that is
    decoupled there only has its streams cut to one response."""
    config = model.config
    for text in llm_api_files(model):
        said = text.value.get("triton_config")
        if not isinstance(said, dict):
            continue
        for key, has in (
            ("decoupled", bool(config.model_transaction_policy.decoupled)),
            ("max_batch_size", int(config.max_batch_size)),
        ):
            if key in said and said[key] != has:
                at = text.of(f"triton_config.{key}")
                message = f"{key} is {said[key]!r} in {text.file} and {has!r} in config.pbtxt"
                yield Problem(message, at, file=text.file)


@rule(
    "TRT714",
    "every instance has its GPUs",
    fix="name one set of GPUs for each instance: '0,1;2,3'",
    backends=("python",),
    bad=_yaml(
        _SOUND + "tensor_parallel_size: 2\n",
        'parameters { key: "gpu_device_ids" value { string_value: "0;1" } }\n'
        "instance_group [ { count: 2 kind: KIND_CPU } ]",
    ),
    good=_yaml(
        _SOUND + "tensor_parallel_size: 2\n",
        'parameters { key: "gpu_device_ids" value { string_value: "0,1;2,3" } }\n'
        "instance_group [ { count: 2 kind: KIND_CPU } ]",
    ),
)
def gpu_sets(model: Model) -> Problems:
    """``gpu_device_ids`` has as many sets as there are instances, each of tensor × pipeline ×
    context parallel size; it is required for more than one instance."""
    for text in llm_api_files(model):
        world, instances = _world(text), _instances(model)
        value = model.parameters().get(_GPUS, "")
        at = model.at_parameter(_GPUS)
        if not value:
            if instances > 1:
                yield Problem(
                    f"{instances} instances need {_GPUS}, which assigns GPUs to each",
                    model.at("instance_group"),
                )
            continue
        sets = [part.split(",") for part in value.split(";") if part]
        if len(sets) != instances:
            yield Problem(f"{_GPUS} names {len(sets)} sets for {instances} instance(s)", at)
        for part in sets:
            if len(part) != world:
                yield Problem(
                    f"the set {','.join(part)!r} of {_GPUS} has {len(part)} GPUs, but the model "
                    f"runs on {world}",
                    at,
                )


def _instances(model: Model) -> int:
    return sum(max(1, group.count) for group in model.config.instance_group) or 1


def _world(text: LocatedText) -> int:
    world = 1
    for axis in ("tensor", "pipeline", "context"):
        size: Any = text.value.get(f"{axis}_parallel_size", 1)
        world *= size if isinstance(size, int) and size > 0 else 1
    return world


@rule(
    "TRT715",
    "the model of model.yaml is in the repository, or named by its hub id",
    fix="convert the checkpoint again, or give a Hugging Face id",
    backends=("python",),
    bad=[
        _yaml("model: /models/m/1/weights\n"),
        _yaml("model: /home/me/llama\n"),
        _yaml("model: org/name\n"),
    ],
    good=_yaml(_SOUND),
)
def model_is_there(model: Model) -> Problems:
    """``/models/NAME/VERSION/…`` is where containers see the repository; any other path exists
    only on the machine that wrote it. A model from the hub needs a pinned ``revision``."""
    for folder in named_directories(model):
        if folder.named_in.endswith(NAME) and not folder.path.is_dir():
            yield Problem(
                f"{folder.key} is {folder.value!r}, which does not exist",
                folder.at,
                file=folder.named_in,
            )
    for text, key, value in _elsewhere(model):
        hub = is_hub_id(value)
        if hub and (key != "model" or text.value.get("revision")):
            continue
        why = "taken from the hub as it is at the moment of loading" if hub else "of one machine"
        yield Problem(
            f"{key} {value!r} is {why}",
            text.of(key),
            file=text.file,
            severity=Severity.WARNING,
            fix="write revision: <commit>" if hub else "",
        )


@rule(
    "TRT719",
    "the GPU supports the checkpoint's number format",
    fix="serve it on a GPU that supports it, or convert a checkpoint in another format",
    backends=("python",),
    bad=Example(_CONFIG, _quantized("NVFP4"), sm=90),
    good=Example(_CONFIG, _quantized("NVFP4"), sm=100),
)
def format_of_weights(model: Model) -> Problems:
    """TensorRT-LLM has kernels of a format for some generations of GPUs only, and loads on no
    other. Checked when the GPU is known, as in ``trtbuild serve``."""
    sm = model.repository.options.sm
    for text in llm_api_files(model) if sm else ():
        folder = local_folder(model, str(text.value.get("model", "")))
        route = _route(folder, model.repository.root) if folder else None
        if route and route.sm and sm not in route.sm:
            able = ", ".join(map(str, route.sm))
            yield Problem(
                f"TensorRT-LLM runs {route.algorithm} on SM {able}, and the server's GPU is "
                f"SM {sm}",
                text.of("model"),
                file=text.file,
            )


def _route(folder: Path, root: Path) -> Route | None:
    from trtbuild.modelspec import declared_quantization

    declared = settings(folder, root, "config.json").get("quantization_config")
    if not isinstance(declared, dict):
        declared = settings(folder, root, "hf_quant_config.json")
    found = declared_quantization(declared) if declared else None
    return toolchain.trtllm_route(found.method, found.detail) if found else None


def _elsewhere(model: Model) -> Iterator[tuple[LocatedText, str, str]]:
    """Models and tokenizers that are not in this repository."""
    for text in llm_api_files(model):
        for key in ("model", "tokenizer"):
            value = text.value.get(key)
            if isinstance(value, str) and value and local_folder(model, value) is None:
                yield text, key, value
