"""Operations: what loads and is likely to fail or to crawl in service."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from trtbuild.check.completed import is_version
from trtbuild.check.context import Model, Repository
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import MODEL_PY, Example
from trtbuild.check.model import Severity
from trtbuild.located.positions import Position
from trtbuild.toolchain import BLS_FIXED
from trtbuild_rules.readers.modelyaml import llm_api_files
from trtbuild_rules.readers.served import engines

_MIB = 1 << 20
_SHM_EACH = 64 * _MIB
_SHM_USUAL = 2048 * _MIB
_NAMED = 5  # models that a finding names
_STUBS = ("python", "vllm")
_BLS = """\
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            pb_utils.InferenceRequest(model_name="engine").exec(decoupled=True)
        return None
"""


@rule(
    "TRT821",
    "no decoupled model calls other models",
    fix="use an ensemble, or call the engine's model directly",
    severity=Severity.WARNING,
    backends=("python",),
    bad=Example(
        "model_transaction_policy { decoupled: true }", {"m/1/model.py": _BLS}, triton="26.06"
    ),
    good=[
        Example(
            "model_transaction_policy { decoupled: false }", {"m/1/model.py": _BLS}, triton="26.06"
        ),
        Example(
            "model_transaction_policy { decoupled: true }", {"m/1/model.py": _BLS}, triton="26.07"
        ),
    ],
)
def decoupled_bls(model: Model) -> Problems:
    """A decoupled Python model that calls other models (BLS) deadlocks under load: with eight
    streams in three of four runs (triton-inference-server/server issue 8882). Triton 26.07 is the
    first release with the fix (triton-inference-server/python_backend#439)."""
    fixed = model.judged_as[0] >= BLS_FIXED
    if fixed or not model.config.model_transaction_policy.decoupled:
        return
    from trtbuild_rules.readers.python.pysource import read_source

    for version in model.served:
        file = f"{version}/{model.config.default_model_filename or 'model.py'}"
        try:
            source = read_source(model.read(file))
        except FileNotFoundError:
            continue
        if source.calls_models is not None:
            yield Problem(
                f"{file} is decoupled and calls other models", source.calls_models, file=file
            )


@rule(
    "TRT822",
    "an engine that batches in flight has one instance",
    fix="write instance_group [{ count: 1 … }]; raise the engine's batch instead",
    severity=Severity.WARNING,
    backends=("vllm", "tensorrtllm"),
    bad=Example("instance_group [ { count: 2 kind: KIND_MODEL } ]", base="vllm"),
    good=Example("instance_group [ { count: 1 kind: KIND_MODEL } ]", base="vllm"),
)
def one_engine(model: Model) -> Problems:
    """The engine takes new requests at every step. A second instance is a second engine, with
    weights and a cache of its own, on the same GPU unless configured otherwise."""
    if model.filled().get("gpu_device_ids", "").count(";"):
        return
    for number, group in enumerate(model.config.instance_group):
        if group.count > 1:
            at = model.at("instance_group", number, "count")
            yield Problem(f"{group.count} instances of an engine that batches on its own", at)


@rule(
    "TRT823",
    "a queue has a limit",
    fix="write default_queue_policy { max_queue_size: N } into dynamic_batching",
    severity=Severity.INFO,
    scope="repository",
    bad="dynamic_batching { }",
    good="dynamic_batching { default_queue_policy { max_queue_size: 100 } }",
)
def queue_limit(repository: Repository) -> Problems:
    """Without one, requests pile up in memory while a model is slow, and every one of them is
    answered too late. With a limit, clients are asked to retry. One finding names all models."""
    open_ended = [
        model.name
        for model in repository.models
        if model.config is not None and _queues_without_limit(model.config)
    ]
    if open_ended:
        names = ", ".join(open_ended[:_NAMED])
        more = f" and {len(open_ended) - _NAMED} more" if len(open_ended) > _NAMED else ""
        yield Problem(f"the queue of {names}{more} has no limit", file="")


def _queues_without_limit(config: Any) -> bool:
    batching = config.dynamic_batching
    limited = batching.default_queue_policy.max_queue_size or batching.priority_queue_policy
    return config.HasField("dynamic_batching") and not limited


def _bls(count: int) -> Example:
    bls = (
        'parameters { key: "tensorrt_llm_model_name" value { string_value: "e" } }\n'
        f"instance_group [ {{ count: {count} kind: KIND_CPU }} ]"
    )
    engine = (
        'name: "e" backend: "python" max_batch_size: 8 '
        'input [ { name: "IN" data_type: TYPE_FP32 dims: [ 1 ] } ] '
        'output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 1 ] } ]'
    )
    return Example(bls, files={"e/config.pbtxt": engine, "e/1/model.py": MODEL_PY})


@rule(
    "TRT824",
    "a model that calls an engine has instances for its batch",
    fix="write instance_group { count: … } with the engine's max_batch_size, or use the ensemble",
    severity=Severity.WARNING,
    backends=("python",),
    bad=_bls(1),
    good=_bls(8),
)
def bls_instances(model: Model) -> Problems:
    """An instance of a model that calls others (BLS) handles one request at a time, so the
    engine never gets more requests at once than there are instances."""
    name = model.filled().get("tensorrt_llm_model_name", "")
    engine = model.repository.find(name) if name else None
    if engine is None or engine.config is None:
        return
    groups = model.config.instance_group
    count = sum(max(1, group.count) for group in groups) or 1
    if count < engine.config.max_batch_size:
        yield Problem(
            f"{count} instance(s) before an engine that computes {engine.config.max_batch_size} "
            "requests at once",
            model.at("instance_group"),
        )


_SHARE = '{ "model": "org/name", "revision": "0123456789", "gpu_memory_utilization": %s }'


def _two(first: str, second: str) -> Example:
    config = (
        'name: "b" backend: "vllm" max_batch_size: 0 '
        "model_transaction_policy { decoupled: true } "
        'input [ { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] } ] '
        'output [ { name: "text_output" data_type: TYPE_STRING dims: [ -1 ] } ] '
        "instance_group [ { count: 1 kind: KIND_MODEL } ]"
    )
    files = {
        "m/1/model.json": _SHARE % first,
        "b/1/model.json": _SHARE % second,
        "b/config.pbtxt": config,
    }
    return Example(files=files, base="vllm")


@rule(
    "TRT825",
    "the engines of one GPU share its memory",
    fix="give each its share: gpu_memory_utilization (vLLM), kv_cache_free_gpu_mem_fraction "
    "(engines), kv_cache_config.free_gpu_memory_fraction (LLM API)",
    severity=Severity.WARNING,
    scope="repository",
    bad=_two("0.9", "0.5"),
    good=_two("0.5", "0.4"),
)
def memory_shares(repository: Repository) -> Problems:
    """vLLM takes its share of the whole GPU, 0.9 by default, and does not start when less is free;
    TensorRT-LLM's fraction is of what is free when it starts. GPUs that are named apart
    (``gpus``, ``gpu_device_ids``) are not counted together."""
    shares: dict[str, list[tuple[Model, float, Position, str]]] = defaultdict(list)
    for model in repository.models:
        for share, at, file in _shares(model):
            for gpu in _gpus(model):
                shares[gpu].append((model, share, at, file))
    for gpu, taken in shares.items():
        total = sum(share for _, share, _, _ in taken)
        if len({model.name for model, *_ in taken}) > 1 and total > 1.0:
            names = ", ".join(f"{model.name} {share:g}" for model, share, _, _ in taken)
            model, _, at, file = taken[-1]
            where = f"GPU {gpu}" if gpu else "one GPU"
            yield Problem(
                f"the engines on {where} reserve {total:g} of its memory: {names}",
                at,
                file=model.file(file),
                model=model.name,
            )
            return


def _shares(model: Model) -> Iterator[tuple[float, Position, str]]:
    """The share of a GPU that each version of a model takes, where, in which file."""
    if model.backend == "vllm":
        for engine in engines(model):
            value = engine.settings.get("gpu_memory_utilization", 0.9)
            if isinstance(value, int | float):
                yield float(value), engine.json.of("gpu_memory_utilization"), engine.file
    elif model.backend == "tensorrtllm":
        key = "kv_cache_free_gpu_mem_fraction"
        try:
            yield float(model.filled().get(key) or 0.9), model.at_parameter(key), "config.pbtxt"
        except ValueError:
            return
    elif model.backend == "python":
        for text in llm_api_files(model):
            if not isinstance(text.value.get("model"), str):
                continue  # some other model's file of that name
            given = text.value.get("kv_cache_config")
            value = given.get("free_gpu_memory_fraction") if isinstance(given, dict) else None
            share = 0.9 if isinstance(value, bool) or not isinstance(value, int | float) else value
            yield float(share), text.of("kv_cache_config.free_gpu_memory_fraction"), text.file


def _gpus(model: Model) -> tuple[str, ...]:
    """The GPUs that a model names; one empty name when it leaves the choice."""
    named = model.filled().get("gpu_device_ids", "").replace(";", ",")
    found = [part.strip() for part in named.split(",") if part.strip()]
    found += [str(gpu) for group in model.config.instance_group for gpu in group.gpus]
    return tuple(dict.fromkeys(found)) or ("",)


@rule(
    "TRT826",
    "the Python instances fit into the usual shared memory",
    fix="start with a larger --shm-size (64 MB for each Python instance), or fewer instances",
    severity=Severity.WARNING,
    scope="repository",
    bad="instance_group [ { count: 40 kind: KIND_CPU } ]",
    good="instance_group [ { count: 4 kind: KIND_CPU } ]",
)
def shared_memory(repository: Repository) -> Problems:
    """Each instance of a Python model needs 64 MB of /dev/shm, and the server does not start
    without it; ``trtbuild serve`` gives a container 2 GB, docker alone 64 MB."""
    count = sum(
        max(1, group.count)
        for model in repository.models
        if model.config is not None and model.backend in _STUBS
        for group in (model.config.instance_group or [_ONE])
    )
    if count * _SHM_EACH > _SHM_USUAL:
        yield Problem(
            f"{count} Python instances need {count * _SHM_EACH // _MIB:,} MB of shared memory",
            file="",
        )


class _One:
    count = 1


_ONE = _One()


_OWN = ("model.json", "model.yaml", "multi_lora.json")


@rule(
    "TRT828",
    "no placeholder is left in a model's own files",
    fix="replace it with the value",
    severity=Severity.WARNING,
    needs_config=False,
    bad=Example(files={"m/1/model.json": '{ "model": "${model_dir}" }'}, base="vllm"),
    good=Example(base="vllm"),
)
def no_placeholder(model: Model) -> Problems:
    """``${…}`` that a template filler left in ``model.json``, ``model.yaml`` or an adapter list
    is read as a value."""
    for entry in model.tree:
        version, _, name = entry.path.partition("/")
        if is_version(version) and name in _OWN:
            file = entry.path
            text = model.read(file).decode("utf-8", "replace")
            for number, line in enumerate(text.splitlines(), 1):
                begin = line.find("${")
                end = line.find("}", begin)
                if begin >= 0 and end > begin:
                    at = Position(number, begin + 1, end + 1 - begin)
                    what = f"the placeholder {line[begin : end + 1]} was never filled in"
                    yield Problem(what, at, file=file)
