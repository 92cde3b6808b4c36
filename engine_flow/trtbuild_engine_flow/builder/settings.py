"""A recipe's settings for the engine flow: one flat list of names, checked together.

A name belongs to the conversion, to ``trtllm-build``, to a Triton model, or is ours. If the build
and Triton share a name (``max_beam_width``), one value is used for both.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.version import Version

from trtbuild import toolchain as toolchains
from trtbuild.modelspec import ModelSpec
from trtbuild.recipe import ModelRecipe, raise_problems
from trtbuild.toolchain import Toolchain
from trtbuild_engine_flow.builder.tables import profiles
from trtbuild_engine_flow.engineconfig import lookahead_conflict
from trtbuild_engine_flow.parameters import Setting, build_options, triton_parameters

DEFAULT_PROFILE = "balanced"
# A context of a million tokens would be compiled for, and its buffers allocated, unasked.
_LONGEST_UNASKED = 8192

_OWN = {
    "dtype": Setting("dtype", "str", choices=("auto", "float16", "bfloat16", "float32")),
    "tensor_parallel_size": Setting("tensor_parallel_size", "int", minimum=1),
    "pipeline_parallel_size": Setting("pipeline_parallel_size", "int", minimum=1),
    "profile": Setting("profile", "str", choices=("latency", "balanced", "throughput")),
}

# Modes whose drafts come from additional weights, trained on top of a model.
_DRAFT_HEADS = ("medusa", "explicit_draft_tokens", "eagle")

# What the tools of TensorRT-LLM call them.
_ELSEWHERE = {
    "tp": "tensor_parallel_size",
    "tp_size": "tensor_parallel_size",
    "pp": "pipeline_parallel_size",
    "pp_size": "pipeline_parallel_size",
}


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The settings of a deployment.

    Attributes:
        dtype: What the engine computes in.
        tp, pp: Tensor and pipeline parallel sizes.
        profile: The active profile.
        build: Options of ``trtllm-build``.
        triton: Parameters of the Triton models: the profile's, overridden by the recipe's.
        why: The reason for each setting of the profile.
    """

    dtype: str
    tp: int
    pp: int
    profile: str
    build: Mapping[str, Any]
    triton: Mapping[str, Any]
    why: Mapping[str, str]


def resolve(spec: ModelSpec, recipe: ModelRecipe, tools: Toolchain) -> EngineSettings:
    """Return every setting with its value.

    Raises:
        RecipeError: Unknown names, wrong types and values, sizes that do not divide the
            checkpoint, options of another release: all of them at once.
    """
    given = recipe.engine
    sound = {name: value for name, value in given.items() if not _problem(name, value)}
    where = f"settings of the engine flow (TensorRT-LLM {tools.trtllm}, Triton {tools.triton})"
    problems = [text for name, value in given.items() if (text := _problem(name, value))]
    problems += _releases(sound, tools)
    problems += _against_spec(spec, sound)
    if sound.get("bls") and sound.get("decoupled") is False:
        problems.append("bls takes a decoupled engine: leave decoupled=false out, or bls")
    if sound.get("exclude_input_in_output") is False:
        problems.append(
            "exclude_input_in_output=false puts the prompt into what postprocessing takes for the "
            "answer: leave it out, and send it with the requests to the engine's own model "
            "that want the prompt back"
        )
    if half := lookahead_conflict({k: str(v) for k, v in sound.items()}):
        problems.append(half.text)
    raise_problems(problems, where, "correct --set or the recipe's 'engine:'")
    return _settled(spec, sound, tools)


def _settled(spec: ModelSpec, options: Mapping[str, Any], tools: Toolchain) -> EngineSettings:
    dtype = options.get("dtype", "auto")
    if dtype == "auto":
        dtype = spec.dtype if spec.dtype == "bfloat16" else "float16"
    tp, pp = options.get("tensor_parallel_size", 1), options.get("pipeline_parallel_size", 1)
    profile = options.get("profile", DEFAULT_PROFILE)
    chosen = {name: row for name, row in profiles()[profile].items() if name not in options}
    values = {**{name: value for name, (value, _) in chosen.items()}, **options}
    build = {**_build_defaults(spec, values, dtype, tp * pp), **_of(build_options(), values)}
    if not build["use_paged_context_fmha"] and "max_num_tokens" not in options:
        # without chunked context a prompt must fit into one step
        build["max_num_tokens"] = max(build["max_num_tokens"], build["max_input_len"])
    if not build_options()["max_seq_len"].known_to(tools.trtllm):
        build |= _lengths_before_0_11(build, options)
    return EngineSettings(
        dtype=dtype,
        tp=tp,
        pp=pp,
        profile=profile,
        build={k: v for k, v in build.items() if build_options()[k].known_to(tools.trtllm)},
        triton=_of(triton_parameters(), values),
        why={name: why for name, (_, why) in chosen.items()},
    )


def windows(spec: ModelSpec, settings: EngineSettings) -> tuple[str, ...]:
    """Return the attention windows, which an engine applies only if configured."""
    if "max_attention_window_size" in settings.triton:
        return ()
    total = settings.build["max_input_len"] + settings.build.get("max_output_len", 0)
    length = settings.build.get("max_seq_len", total)
    groups = spec.kv_cache.groups
    found = {group.window for group in groups if group.kind == "sliding" and group.window < length}
    if not found:
        return ()
    size = min(found)
    all_slide = len(groups) == 1
    value = size if all_slide else f"[{size}, …]"
    which = "" if all_slide else ", a size for each layer,"
    return (
        f"{'its' if all_slide else 'some'} layers attend to the last {size:,} tokens, but in an "
        f"engine to all of max_seq_len={length}: --set max_attention_window_size={value}{which} "
        f"or max_seq_len={size} keeps longer texts as the checkpoint means them",
    )


def _of(table: Mapping[str, Setting], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in table}


def _build_defaults(
    spec: ModelSpec, options: Mapping[str, Any], dtype: str, world: int
) -> dict[str, Any]:
    attends = spec.kv_cache.kind != "none" and options.get("context_fmha", True)
    enough = max(_LONGEST_UNASKED, options.get("max_input_len", 0))
    length = options.get("max_seq_len") or min(spec.context_length or enough, enough)
    return {
        "max_input_len": length,
        "max_seq_len": length,
        "max_beam_width": 1,
        "kv_cache_type": "paged",
        "remove_input_padding": True,
        # Shared prompt beginnings and prompts in pieces need it; there are no float32 kernels, and
        # a model without attention does not start with prompts in pieces.
        "use_paged_context_fmha": dtype != "float32" and attends,
        "gemm_plugin": dtype,
        "workers": world,
    }


def _lengths_before_0_11(build: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, int]:
    """Prompt and answer were told apart then: half and half, unless one of them is given."""
    total = build["max_seq_len"]
    answer = options.get("max_output_len", 0)
    prompt = options.get("max_input_len") or (total - answer if answer else total // 2)
    return {"max_input_len": prompt, "max_output_len": answer or max(1, total - prompt)}


def _problem(name: str, value: Any) -> str:
    """Return what is wrong with a single setting; ``""`` if nothing."""
    setting = _OWN.get(name) or build_options().get(name) or triton_parameters().get(name)
    if setting is None:
        return _unknown(name)
    if setting.fixed:
        return f"{name} is written by trtbuild: {setting.meaning[0].lower()}{setting.meaning[1:]}"
    if setting.unread:
        return f"{name} would change nothing: {setting.unread}"
    return setting.problem(value)


def _unknown(name: str) -> str:
    free = [key for key, row in triton_parameters().items() if not row.fixed and not row.unread]
    known = [*_OWN, *build_options(), *free]
    plain = name.lstrip("-").replace("-", "_")
    near = difflib.get_close_matches(plain, known, n=2, cutoff=0.6)
    if plain in _ELSEWHERE:
        near = [_ELSEWHERE[plain]]
    hint = f": did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"the engine flow has no setting {name!r}{hint}"


def _releases(options: Mapping[str, Any], tools: Toolchain) -> Iterator[str]:
    for name, value in options.items():
        rows = [table[name] for table in (build_options(), triton_parameters()) if name in table]
        if not rows or any(row.known_to(tools.trtllm) for row in rows):
            if rows and (later := rows[0].choice_since(value, tools.trtllm)):
                yield f"{name}={value} {_needs(later)}"
            continue
        since, until = rows[0].former_since or rows[0].since, rows[0].until
        if until and Version(tools.trtllm) >= Version(until):
            yield f"{name} is gone since TensorRT-LLM {until}"
            continue
        yield f"{name} {_needs(since)}"


def _needs(since: str) -> str:
    first = [
        row.triton
        for row in toolchains.releases()
        if row.trtllm and Version(row.trtllm) >= Version(since)
    ]
    return f"needs TensorRT-LLM {since}: use --triton {first[-1]} or newer"


def _against_spec(spec: ModelSpec, options: Mapping[str, Any]) -> Iterator[str]:
    """Report values of the right type that are invalid for this checkpoint."""
    tp, pp = options.get("tensor_parallel_size", 1), options.get("pipeline_parallel_size", 1)
    heads, kv_heads, layers = spec.num_attention_heads, spec.num_kv_heads, spec.num_layers
    if heads and heads % tp:
        sizes = ", ".join(str(n) for n in range(1, min(heads, 64) + 1) if heads % n == 0)
        yield f"tensor_parallel_size={tp} does not divide the {heads} attention heads: use {sizes}"
    elif kv_heads and kv_heads % tp and tp % kv_heads:
        yield (
            f"tensor_parallel_size={tp} neither divides the {kv_heads} key-value heads nor is a "
            "multiple of them"
        )
    if layers and layers % pp:
        sizes = ", ".join(str(n) for n in range(1, layers + 1) if layers % n == 0)
        yield f"pipeline_parallel_size={pp} does not divide the {layers} layers: use {sizes}"
    guided = "guided_decoding_backend" in options and "xgrammar_tokenizer_info_path" not in options
    if guided and spec.tokenizer.kind != "fast":
        yield (
            "guided_decoding_backend needs a tokenizer.json, and the checkpoint has none: save one "
            "with transformers (save_pretrained), or give xgrammar_tokenizer_info_path"
        )
    yield from _lengths(spec, options)
    yield from _attention(options)
    yield from _drafts(options)


def _attention(options: Mapping[str, Any]) -> Iterator[str]:
    if options.get("use_paged_context_fmha") and options.get("context_fmha") is False:
        yield "use_paged_context_fmha is a kind of context_fmha: leave context_fmha=false out"
    if options.get("use_paged_context_fmha") and options.get("dtype") == "float32":
        yield "use_paged_context_fmha has no float32 kernels: use dtype float16 or bfloat16"


def _drafts(options: Mapping[str, Any]) -> Iterator[str]:
    """Report speculative decoding that lacks draft heads or a draft length."""
    mode = options.get("speculative_decoding_mode")
    if mode in _DRAFT_HEADS:
        yield (
            f"speculative_decoding_mode={mode} needs draft heads that this checkpoint has not: "
            "build with TensorRT-LLM's own example of it, and give that engine (--engine DIR)"
        )
    elif mode and not options.get("max_draft_len"):
        yield f"speculative_decoding_mode={mode} needs max_draft_len: the tokens of a draft at most"


def _lengths(spec: ModelSpec, options: Mapping[str, Any]) -> Iterator[str]:
    total, prompt = options.get("max_seq_len", 0), options.get("max_input_len", 0)
    for name, length in (("max_seq_len", total), ("max_input_len", prompt)):
        if spec.context_length and length > spec.context_length:
            yield (
                f"{name}={length} is more than the checkpoint's context of "
                f"{spec.context_length} tokens"
            )
    if total and prompt > total:
        yield f"max_input_len={prompt} is more than max_seq_len={total}, which has the answer too"
    batch, asked = options.get("max_batch_size", 0), options.get("triton_max_batch_size", 0)
    if batch and asked > batch:
        yield (
            f"triton_max_batch_size={asked} is more than the engine will be built for "
            f"(max_batch_size={batch})"
        )
