"""Check an engine against its Triton parameters, the server and the tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trtbuild import toolchain
from trtbuild_engine_flow.engineconfig.reading import EngineConfig

_TRUE = {"True", "true", "TRUE", "1"}
_LOOKAHEAD = (
    "lookahead_window_size",
    "lookahead_ngram_size",
    "lookahead_verification_set_size",
)
# decoding_mode -> the speculative_decoding_mode that an engine must have been built with
_DECODING = {
    "medusa": "medusa",
    "lookahead": "lookahead_decoding",
    "redrafter": "explicit_draft_tokens",
    "eagle": "eagle",
}


@dataclass(frozen=True, slots=True)
class Conflict:
    """A setting that the engine does not support.

    ``key`` is the parameter (or field) at fault, empty for the engine as a whole.
    ``starts``: the server starts, and ignores the setting.
    """

    key: str
    text: str
    fix: str
    starts: bool = False


def conflicts(
    engine: EngineConfig,
    parameters: Mapping[str, str],
    *,
    max_batch_size: int = 0,
    instances: int = 0,
    release: str = "",
    vocab_size: int = 0,
) -> tuple[Conflict, ...]:
    """Return every conflict of an engine with the ``tensorrt_llm`` model that runs it.

    Args:
        engine: What it was built for.
        parameters: The model's parameters as printed; absent or empty ones take their default.
        max_batch_size: The model's; 0: unknown.
        instances: Of the model, as its instance_group counts them; 0: unknown.
        release: The TensorRT-LLM of the server; empty: unknown.
        vocab_size: The checkpoint's vocabulary; 0: unknown.
    """
    given = {key: value for key, value in parameters.items() if value}
    return (
        *_version(engine, release),
        *_sizes(engine, given, max_batch_size),
        *_vocabulary(engine, vocab_size),
        *_attention(engine, given),
        *_speculation(engine, given),
        *_devices(engine, given, instances),
        *_weights(engine, given),
        *_cache(engine, given),
        *_guides(given),
    )


def lookahead_conflict(parameters: Mapping[str, str]) -> Conflict | None:
    """The C++ throws when some of the three sizes of lookahead decoding are given, not all."""
    given = [key for key in _LOOKAHEAD if parameters.get(key)]
    lacking = [key for key in _LOOKAHEAD if key not in given]
    if not given or not lacking:
        return None
    return Conflict(
        given[0],
        f"{' and '.join(given)} without {' and '.join(lacking)}: the backend refuses to start",
        "give all three sizes of lookahead decoding, or none",
    )


def _version(engine: EngineConfig, release: str) -> Iterator[Conflict]:
    if not release or not engine.version or engine.version == release:
        return
    rows = [row.triton for row in toolchain.releases() if row.trtllm == engine.version]
    other = f"serve it with --triton {rows[0]}, or " if rows else ""
    yield Conflict(
        "",
        f"the engine was built by TensorRT-LLM {engine.version} and the server has {release}: "
        "an engine loads in its own release only",
        f"{other}build it again for {release}",
    )


def _sizes(
    engine: EngineConfig, parameters: Mapping[str, str], max_batch_size: int
) -> Iterator[Conflict]:
    if engine.max_batch_size and max_batch_size > engine.max_batch_size:
        yield Conflict(
            "max_batch_size",
            f"max_batch_size {max_batch_size} is more than the engine was built for "
            f"({engine.max_batch_size})",
            f"use at most {engine.max_batch_size}, or build an engine with a larger one",
        )
    beams = _whole(parameters.get("max_beam_width"))
    if beams > engine.max_beam_width:
        yield Conflict(
            "max_beam_width",
            f"max_beam_width {beams} is more than the engine was built for "
            f"({engine.max_beam_width})",
            f"use at most {engine.max_beam_width}, or build an engine with more beams",
        )
    tokens = _whole(parameters.get("max_tokens_in_paged_kv_cache"))
    if 0 < tokens < engine.max_seq_len:
        yield Conflict(
            "max_tokens_in_paged_kv_cache",
            f"max_tokens_in_paged_kv_cache {tokens} does not hold one sequence of the engine's "
            f"max_seq_len ({engine.max_seq_len})",
            f"give at least {engine.max_seq_len}, or leave it to kv_cache_free_gpu_mem_fraction",
        )


def _vocabulary(engine: EngineConfig, vocab_size: int) -> Iterator[Conflict]:
    padded = -(-vocab_size // engine.tp) * engine.tp
    if vocab_size and engine.vocab_size and engine.vocab_size not in {vocab_size, padded}:
        yield Conflict(
            "",
            f"the engine has a vocabulary of {engine.vocab_size} and the checkpoint of "
            f"{vocab_size}: it was built from another one",
            "give the checkpoint that the engine was built from, or build it again",
        )


def _attention(engine: EngineConfig, parameters: Mapping[str, str]) -> Iterator[Conflict]:
    for key in ("enable_kv_cache_reuse", "enable_chunked_context"):
        if parameters.get(key) in _TRUE and not engine.paged_context_fmha:
            yield Conflict(
                key,
                f"{key} needs an engine with paged context FMHA, and this one has none",
                f"set {key} to false, or build with use_paged_context_fmha",
            )
    if "inflight" not in parameters.get("gpt_model_type", "inflight"):
        return
    for name, has in (
        ("paged_kv_cache", engine.paged_kv_cache),
        ("remove_input_padding", engine.remove_input_padding),
    ):
        if not has:
            yield Conflict(
                "gpt_model_type",
                f"in-flight batching needs an engine with {name}, and this one has none",
                f"build with {name}, or set gpt_model_type to V1",
            )


def _speculation(engine: EngineConfig, parameters: Mapping[str, str]) -> Iterator[Conflict]:
    mode = parameters.get("decoding_mode", "")
    if half := lookahead_conflict(parameters):
        yield half
    elif mode == "lookahead" and not parameters.get(_LOOKAHEAD[0]):
        yield Conflict(
            "decoding_mode",
            f"decoding_mode lookahead without {', '.join(_LOOKAHEAD)}: the backend refuses to "
            "start",
            "give all three sizes of lookahead decoding, or leave decoding_mode out",
        )
    wanted = _DECODING.get(mode, "")
    if wanted and engine.speculative != wanted:
        was = engine.speculative or "no speculative decoding"
        yield Conflict(
            "decoding_mode",
            f"decoding_mode {mode} needs an engine built for {wanted}, and this one was built "
            f"for {was}",
            f"leave decoding_mode out, or build with speculative_decoding_mode={wanted}",
        )
    if mode == "beam_search" and engine.max_beam_width < 2:
        yield Conflict(
            "decoding_mode",
            "decoding_mode beam_search needs an engine with max_beam_width above 1",
            "leave decoding_mode out, or build with more beams",
        )
    for key, built in (("medusa_choices", "medusa"), ("eagle_choices", "eagle")):
        if key in parameters and engine.speculative != built:
            yield Conflict(
                key,
                f"{key} means nothing to an engine that was not built for {built}",
                f"leave it out, or build with speculative_decoding_mode={built}",
                starts=True,
            )


def _cache(engine: EngineConfig, parameters: Mapping[str, str]) -> Iterator[Conflict]:
    """What the engine's runtime checks when it makes the KV cache, and then does not start."""
    if parameters.get("kv_cache_onboard_blocks", "true") not in _TRUE and engine.paged_context_fmha:
        yield Conflict(
            "kv_cache_onboard_blocks",
            "kv_cache_onboard_blocks cannot be false for an engine with paged context FMHA",
            "leave it out, or build with use_paged_context_fmha=false",
        )
    reuses = parameters.get("enable_kv_cache_reuse", "true") in _TRUE and engine.paged_context_fmha
    if engine.speculative == "draft_tokens_external" and not reuses:
        yield Conflict(
            "enable_kv_cache_reuse",
            "an engine built for draft_tokens_external starts with enable_kv_cache_reuse only, "
            "which needs paged context FMHA",
            "set enable_kv_cache_reuse to true, and build with use_paged_context_fmha",
        )
    if "cross_kv_cache_fraction" in parameters and "encoder_model_path" not in parameters:
        yield Conflict(
            "cross_kv_cache_fraction",
            "cross_kv_cache_fraction is for encoder-decoder models: any other does not start",
            "leave it out",
        )


def _guides(parameters: Mapping[str, str]) -> Iterator[Conflict]:
    """The C++ needs both, and without one answers as if no guide had been sent."""
    pair = ("guided_decoding_backend", "xgrammar_tokenizer_info_path")
    for has, lacks in (pair, pair[::-1]):
        if has in parameters and lacks not in parameters:
            yield Conflict(
                has,
                f"{has} without {lacks}: guides that clients send are passed over in silence",
                f"give {lacks} too, or leave {has} out",
                starts=True,
            )


def _devices(
    engine: EngineConfig, parameters: Mapping[str, str], instances: int
) -> Iterator[Conflict]:
    for key, what in (("gpu_device_ids", "GPUs"), ("participant_ids", "ranks")):
        sets = [group for group in parameters.get(key, "").split(";") if group]
        if len(sets) > 1 and instances and len(sets) != instances:
            yield Conflict(
                key,
                f"{key} has {len(sets)} sets of {what} and the model {instances} instance"
                f"{'s' * (instances > 1)}: each instance takes one set",
                f"write instance_group [{{ count: {len(sets)} kind: KIND_CPU }}], or name "
                f"{instances} of them",
                starts=len(sets) > instances,
            )
        for group in sets:
            count = len(group.split(","))
            if count != engine.world:
                yield Conflict(
                    key,
                    f"{key} {group} names {count} {what} and the engine has {engine.world} ranks",
                    f"name {engine.world} for each instance, with ';' between instances",
                )


def _weights(engine: EngineConfig, parameters: Mapping[str, str]) -> Iterator[Conflict]:
    share = parameters.get("gpu_weights_percent", "")
    if share and not engine.weight_streaming and share not in {"1", "1.0"}:
        yield Conflict(
            "gpu_weights_percent",
            f"gpu_weights_percent {share} needs an engine with weight streaming",
            "leave it out, or build with weight_streaming",
        )
    if "lora_prefetch_dir" in parameters and not engine.lora:
        yield Conflict(
            "lora_prefetch_dir",
            "the engine was built without LoRA, and adapters are to be loaded",
            "leave lora_prefetch_dir out, or build with lora_plugin=auto",
        )


def _whole(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else 0
