"""Config: backend, platform, batching."""

from __future__ import annotations

from trtbuild.check.autofix import Insert, Replace
from trtbuild.check.completed import PLATFORMS, nearest_backend, nearest_platform
from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example
from trtbuild.check.model import Severity
from trtbuild_rules.readers import known_backends
from trtbuild_rules.readers.completion import completes


@rule(
    "TRT301",
    "the configuration names its backend",
    fix='write backend: "…" (python, vllm, onnxruntime, …)',
    mirrors="AutoCompleteBackendFields",
    bad={"m/config.pbtxt": 'name: "m"', "m/1/": ""},
    good='backend: "python"',
)
def has_backend(model: Model) -> Problems:
    """Without ``backend`` or ``platform`` the server infers it from a file named ``model.…`` in
    the first directory, or from the end of a model's name such as ``sum.identity``, and refuses
    the model when there is neither."""
    config, completed = model.config, model.completed
    if config.platform or config.default_model_filename or completed.backend or completed.platform:
        return
    yield Problem(
        "neither 'backend' nor 'platform' is set, and no file from which to infer it exists",
        model.at("name"),
        server=f"Invalid model name: Could not determine backend for model '{model.name}' with no "
        "backend in model configuration. Expected model name of the form 'model.<backend_name>'.",
    )


@rule(
    "TRT302",
    "backend and platform agree",
    fix="remove 'platform'; 'backend' is enough",
    mirrors="ValidateModelConfig",
    bad=['backend: "onnxruntime" platform: "tensorrt_plan"', 'platform: "onnx"'],
    good=Example('backend: "onnxruntime"', base="onnx"),
)
def platform_pair(model: Model) -> Problems:
    """``platform`` is the older name of the same setting. The server knows a few pairs; an
    ensemble has a platform only."""
    platform, backend = model.completed.platform, model.completed.backend
    if platform == "ensemble" and backend:
        yield Problem(
            f"an ensemble has no backend, and this one has {backend!r}",
            model.at("backend"),
            server=f"Ensemble model '{model.called}' must have platform type 'ensemble' and empty "
            "backend type",
            fix="remove 'backend'",
        )
    elif not backend and platform != "ensemble":
        if platform or model.config.default_model_filename:
            yield _no_platform(model, platform)
    elif backend in PLATFORMS.values() and PLATFORMS.get(platform) != backend:
        yield Problem(
            f"platform {platform!r} does not belong to backend {backend!r}",
            model.at("platform" if model.config.platform else "backend"),
            server=f"unexpected 'platform' and 'backend' pair, got:{platform}, {backend}",
        )


def _no_platform(model: Model, platform: str) -> Problem:
    near = nearest_platform(platform)
    backend = PLATFORMS[near] if near else nearest_backend(platform, known_backends.backends())
    what = f"there is no platform {platform!r}" if platform else "there is no 'backend'"
    hint = f"; did you mean {near!r}?" if near else ""
    return Problem(
        what + hint,
        model.at("platform"),
        server=f"unexpected platform type '{platform}' for {model.called}",
        fix=f'write backend: "{backend or "…"}" instead of platform',
    )


@rule(
    "TRT303",
    "max_batch_size is not negative",
    fix="write max_batch_size: 0 for a model that does not batch",
    mirrors="ValidateModelConfig",
    autofix=Replace("0"),
    bad="max_batch_size: -1",
    good="max_batch_size: 0",
)
def batch_not_negative(model: Model) -> Problems:
    """0 means that the tensors have no batch dimension; a negative number means nothing."""
    if model.config.max_batch_size < 0:
        yield Problem(
            f"max_batch_size is {model.config.max_batch_size}",
            model.at("max_batch_size"),
            server=f"'max_batch_size' must be non-negative value for {model.called}",
        )


@rule(
    "TRT304",
    "preferred batch sizes are within max_batch_size",
    fix="use sizes from 1 to max_batch_size, or raise max_batch_size if the model batches",
    mirrors="ValidateModelConfig",
    bad="max_batch_size: 4\ndynamic_batching { preferred_batch_size: [ 8 ] }",
    good="max_batch_size: 8\ndynamic_batching { preferred_batch_size: [ 8 ] }",
)
def preferred_sizes(model: Model) -> Problems:
    """The dynamic batcher cannot prefer a batch that the model does not take."""
    largest = model.config.max_batch_size
    sizes = model.config.dynamic_batching.preferred_batch_size
    above = [size for size in sizes if size > largest]
    bad = [size for size in sizes if size <= 0 or size > largest]
    if not bad:
        return
    at = model.at("dynamic_batching", "preferred_batch_size", list(sizes).index(bad[0]))
    if bad[0] <= 0:
        server = f"dynamic batching preferred size must be positive for {model.called}"
        yield Problem(f"preferred_batch_size {bad[0]} is not positive", at, server=server)
    else:
        server = f"dynamic batching preferred size must be <= max batch size for {model.called}"
        named = " and ".join(filter(None, (", ".join(map(str, above[:-1])), str(above[-1]))))
        verb = "is" if len(above) == 1 else "are"
        batching = "; the model does not batch" if not largest else ""
        message = f"preferred_batch_size {named} {verb} above max_batch_size {largest}{batching}"
        yield Problem(message, at, server=server)


@rule(
    "TRT305",
    "ensembles have steps, and other models do not",
    fix='write platform: "ensemble" together with ensemble_scheduling { step […] }',
    mirrors="ValidateEnsembleSchedulingConfig",
    bad='platform: "ensemble"',
    good=Example('platform: "ensemble"', base="ensemble"),
)
def ensemble_scheduling(model: Model) -> Problems:
    """``platform: "ensemble"`` and ``ensemble_scheduling`` belong together."""
    config = model.config
    scheduled = config.WhichOneof("scheduling_choice") == "ensemble_scheduling"
    if config.platform == "ensemble" and not scheduled:
        yield Problem(
            "an ensemble without ensemble_scheduling",
            model.at("platform"),
            server=f"ensemble scheduling must be set for ensemble {model.called} whose platform is "
            "ensemble",
        )
    elif scheduled and config.platform != "ensemble":
        yield Problem(
            f"ensemble_scheduling in a model whose platform is {config.platform or 'not set'}",
            model.at("ensemble_scheduling", name=True),
            server=f"ensemble scheduling cannot be set for model '{model.called}' whose platform "
            "is not ensemble",
        )


@rule(
    "TRT306",
    "the response cache is off where responses cannot be cached",
    fix="remove response_cache",
    mirrors="ValidateModelConfig",
    autofix=Replace("false"),
    bad="response_cache { enable: true }\nmodel_transaction_policy { decoupled: true }",
    good="response_cache { enable: true }",
)
def response_cache(model: Model) -> Problems:
    """Responses of decoupled models and of sequences cannot be cached."""
    if not model.config.response_cache.enable:
        return
    for present, what in (
        (model.config.HasField("sequence_batching"), "sequence batching scheduler"),
        (model.config.model_transaction_policy.decoupled, "'decoupled' transaction policy"),
    ):
        if present:
            yield Problem(
                f"response_cache is on, but the model has a {what}",
                model.at("response_cache", "enable"),
                server=f"Response Cache does not currently support model {model.called} with "
                f"{what}. Please disable the response cache.",
            )


@rule(
    "TRT307",
    "max_batch_size is set where the server may choose it",
    fix="write max_batch_size: 0, or the largest batch",
    severity=Severity.INFO,
    autofix=Insert("max_batch_size: 0", unless_completed=True),
    bad={"m/config.pbtxt": 'backend: "onnxruntime"'},
    good=["max_batch_size: 0", {"m/config.pbtxt": 'backend: "identity"'}],
)
def batch_said(model: Model) -> Problems:
    """If it is missing it means 0, but where the backend completes configurations the server may
    set it to 4. Python models and vLLM choose it themselves."""
    if model.text is None or model.backend in ("python", "vllm") or not completes(model):
        return
    if not model.config.max_batch_size and not model.positions.has("max_batch_size"):
        yield Problem("max_batch_size is not set", model.at("name"))
