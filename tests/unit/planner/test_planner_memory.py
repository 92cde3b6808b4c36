"""The memory formulas against published figures and against each other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.specs import deepseek_v3, gemma3_like, llama_8b, llama_70b, mamba_like
from support.tables import check_rows
from support.vision import vision_spec
from trtbuild import hardware, toolchain
from trtbuild.modelspec import AttentionGroup, KVCache, ModelSpec, Quantization, Task
from trtbuild_builders.memory import formulas
from trtbuild_builders.memory.alternatives import Fit, alternatives, tensor_sizes
from trtbuild_builders.memory.load import GIB, MemoryDemand, load_of, quantized_bytes

RELEASE = toolchain.vllm_release("0.24.0")


def load(spec: ModelSpec, gpu: str = "", **engine: object) -> MemoryDemand:
    return load_of(spec, engine, RELEASE, hardware.gpu(gpu) if gpu else None)


def kv(spec: ModelSpec, tokens: int, sequences: int = 1, **engine: object) -> float:
    return formulas.kv_cache(spec, load(spec, **engine), sequences=sequences, tokens=tokens)


def test_llama_8b_needs_16_gib_for_one_sequence_of_128k() -> None:
    assert kv(llama_8b(), 131_072) == 16 * GIB
    assert kv(llama_8b(), 1600) == 1600 * 131_072


def test_deepseek_v3_needs_70272_bytes_a_token_on_every_gpu() -> None:
    one = kv(deepseek_v3(), 1600, kv_cache_dtype="bfloat16")
    assert one == 1600 * 70_272
    assert kv(deepseek_v3(), 1600, kv_cache_dtype="bfloat16", tensor_parallel_size=8) == one


@pytest.mark.parametrize(("kind", "size"), [("FP8", 1.0), ("NVFP4", 0.5625), ("INT8", 2.0)])
def test_the_checkpoint_says_the_type_of_the_cache(kind: str, size: float) -> None:
    """vLLM falls back to the computing type for what it does not know."""
    method = Quantization("modelopt", {"kv_cache_quant_algo": kind})
    assert load(llama_8b(quantization=method)).kv_element == size


def test_an_indexer_keeps_its_bytes_whatever_the_type_of_the_cache() -> None:
    """DeepSeek V3.2: 61 layers of 576 elements, and 132 B of an indexer's key."""
    group = AttentionGroup("mla", 61, 576 + 66, fixed_bytes=132)
    spec = deepseek_v3(kv_cache=KVCache("MLA", (group,)))
    assert kv(spec, 16, kv_cache_dtype="bfloat16") == 16 * 61 * (1152 + 132)
    assert kv(spec, 16, kv_cache_dtype="fp8") == 16 * 61 * (576 + 132)
    assert kv(spec, 16, kv_cache_dtype="fp8", tensor_parallel_size=8) == 16 * 61 * (576 + 132)


def test_a_state_is_kept_in_the_computing_type_or_float32() -> None:
    group = AttentionGroup("recurrent", 4, 0, constant_elements=1000, wide_elements=600)
    spec = mamba_like(kv_cache=KVCache("recurrent", (group,)))
    assert kv(spec, 16, kv_cache_dtype="fp8") == 4 * (400 * 2 + 600 * 4)
    assert kv(spec, 16, kv_cache_dtype="fp8", dtype="float32") == 4 * 1000 * 4


def test_each_kind_of_layer_divides_its_own_heads() -> None:
    """MiMo-V2: full layers have 4 KV heads, sliding ones 8."""
    full = AttentionGroup("full", 9, 1280, kv_heads=4)
    sliding = AttentionGroup("sliding", 39, 2560, window=16, kv_heads=8)
    spec = llama_8b(kv_cache=KVCache("sliding-window", (full, sliding)), num_kv_heads=4)
    eight = kv(spec, 16, tensor_parallel_size=8)
    assert eight == 16 * 2 * (9 * 1280 / 4 + 39 * 2560 / 8)


def test_kv_heads_are_divided_until_there_is_one_then_repeated() -> None:
    whole = kv(llama_8b(), 1600)
    assert kv(llama_8b(), 1600, tensor_parallel_size=4) == whole / 4
    assert kv(llama_8b(), 1600, tensor_parallel_size=8) == whole / 8
    assert kv(llama_8b(), 1600, tensor_parallel_size=32) == whole / 8


def test_pipeline_parallelism_divides_whole_layers() -> None:
    spec = llama_8b(num_layers=30, kv_cache=replace(llama_8b().kv_cache))
    assert kv(llama_8b(), 1600, pipeline_parallel_size=4) == kv(llama_8b(), 1600) / 4
    uneven = load(spec, pipeline_parallel_size=4)
    assert formulas.weights(spec, uneven) == pytest.approx(spec.weight_bytes * 8 / 30)


def test_tokens_are_rounded_up_to_a_block() -> None:
    assert kv(llama_8b(), 1) == kv(llama_8b(), 16) == 16 * 131_072
    assert kv(llama_8b(), 17) == 2 * kv(llama_8b(), 16)


@pytest.mark.parametrize(
    ("dtype", "share"), [("auto", 1), ("fp8", 0.5), ("fp8_e5m2", 0.5), ("bfloat16", 1)]
)
def test_the_cache_type_scales_it(dtype: str, share: float) -> None:
    assert kv(llama_8b(), 1600, kv_cache_dtype=dtype) == share * kv(llama_8b(), 1600)


def test_a_checkpoint_that_says_its_cache_is_fp8_is_believed() -> None:
    method = Quantization("modelopt", {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"})
    assert kv(llama_8b(quantization=method), 1600) == kv(llama_8b(), 1600) / 2


def test_a_sliding_layer_stops_growing() -> None:
    spec = gemma3_like()
    per_block = 16 * 8 * 512 * 2  # bytes of a block in one layer
    tokens, steps = 32_768, load(spec).batched_tokens
    prefill = -(-(1023 + steps) // 16) + 1
    expected = 8 * (tokens // 16) * per_block + 40 * prefill * per_block
    assert kv(spec, tokens) == expected
    two = kv(spec, tokens, sequences=2) - kv(spec, tokens)
    assert two == 8 * (tokens // 16) * per_block + 40 * (1024 // 16 + 1) * per_block
    everything_full = 48 * tokens * 8 * 512 * 2
    assert expected < everything_full / 4


def test_recurrent_state_does_not_grow_with_length() -> None:
    assert kv(mamba_like(), 16) == kv(mamba_like(), 100_000) == 64 * 1_000_000 * 2
    assert kv(mamba_like(), 16, sequences=3) == 3 * kv(mamba_like(), 16)


def test_weights_are_cast_to_the_type_it_computes_in() -> None:
    single = llama_8b(dtype="float32", bytes_by_dtype={"F32": 4 * 8_030_261_248})
    parameters = single.parameters
    assert load(single).weight_bytes == 2 * parameters
    assert load(single, dtype="float32").weight_bytes == 4 * parameters
    assert load(llama_8b(), dtype="float32").weight_bytes == 4 * parameters
    assert kv(llama_8b(), 1600, dtype="float32") == 2 * kv(llama_8b(), 1600)


def test_quantised_weights_are_as_stored() -> None:
    assert load(deepseek_v3()).weight_bytes == 688_000_000_000


def test_quantising_while_loading_leaves_embedding_and_head() -> None:
    spec, kept = llama_8b(), 2 * 128_256 * 4096
    expected = 2 * kept + (spec.parameters - kept)
    assert load(spec, quantization="fp8").weight_bytes == expected
    assert quantized_bytes(spec, 1.0) == expected
    four_bits = load(spec, quantization="bitsandbytes").weight_bytes
    assert four_bits == 2 * kept + (spec.parameters - kept) * (4 + 32 / 64) / 8


def test_offloading_takes_weights_off_the_gpu() -> None:
    spec = llama_8b()
    plain, offloaded = load(spec), load(spec, cpu_offload_gb=4)
    assert formulas.weights(spec, plain) - formulas.weights(spec, offloaded) == 4 * GIB
    assert formulas.weights(spec, load(spec, cpu_offload_gb=400)) == 0


@pytest.mark.parametrize(
    ("gpu", "release", "tokens", "seqs"),
    [
        ("l4", "0.24.0", 2048, 256),
        ("a100-80", "0.24.0", 2048, 256),
        ("h100", "0.24.0", 8192, 1024),
        ("b200", "0.24.0", 16384, 1024),
        ("b200", "0.10.2", 8192, 1024),
        ("h100", "0.5.5", 32768, 256),
    ],
)
def test_the_steps_of_a_release_on_a_gpu(gpu: str, release: str, tokens: int, seqs: int) -> None:
    found = load_of(llama_8b(), {}, toolchain.vllm_release(release), hardware.gpu(gpu))
    assert (found.batched_tokens, found.max_seqs) == (tokens, seqs)
    given_steps = load(llama_8b(), gpu, max_num_batched_tokens=512, max_num_seqs=8)
    assert (given_steps.batched_tokens, given_steps.max_seqs) == (512, 8)


def test_utilization_follows_the_release() -> None:
    old = load_of(llama_8b(), {}, toolchain.vllm_release("0.19.0"), None)
    assert (old.utilization, load(llama_8b()).utilization) == (0.9, 0.92)
    assert load(llama_8b(), gpu_memory_utilization=0.5).utilization == 0.5


def test_lengths_stay_within_the_context() -> None:
    short = llama_8b(context_length=512)
    assert (load(short).length, load(short).max_model_len) == (512, 512)
    assert load(llama_8b(), max_model_len=1024).length == 1024
    assert load(llama_8b(), max_model_len=-1).max_model_len == 0, "the engine chooses"
    assert load(llama_8b(context_length=0)).length == 4096


def test_activations_of_llama_8b_are_of_the_order_that_engines_log() -> None:
    # vLLM's profile run reports 0.5 to 1.3 GiB for it with steps of 2048 to 8192 tokens.
    assert 0.3 * GIB < formulas.activations(llama_8b(), load(llama_8b(), "l4")) < 1.3 * GIB
    assert formulas.activations(llama_8b(), load(llama_8b(), "h100")) < 3 * GIB


def test_vision_and_embedding_differ_from_text() -> None:
    text = formulas.activations(llama_8b(), load(llama_8b()))
    vision = llama_8b(task=Task.VISION_LANGUAGE)
    step = load(vision).batched_tokens
    # The tower, and vLLM's cache of the vectors of a step's images (4096 wide, 16 bits).
    assert formulas.activations(vision, load(vision)) == text + GIB + step * 4096 * 2
    embed = llama_8b(task=Task.EMBED)
    assert formulas.activations(embed, load(embed)) < text, "nothing is sampled"


def test_an_image_takes_room_in_the_context_and_in_the_encoder_cache() -> None:
    large = vision_spec("Qwen2_5_VLForConditionalGeneration", image_tokens=16386)
    assert load(large).length == 4096 + 4096, "an image of the usual size beside the text"
    small = vision_spec("LlavaForConditionalGeneration", image_tokens=576)
    assert load(small).length == 4096 + 576
    grown = formulas.activations(large, load(large)) - formulas.activations(small, load(small))
    assert grown == (16386 - load(small).batched_tokens) * 4096 * 2
    assert "images of up to 576 tokens" in str(formulas.rows(small, load(small), "max_model_len"))


def test_graphs_and_communication_are_counted() -> None:
    eager = formulas.overhead(load(llama_8b(), enforce_eager=True))
    assert formulas.overhead(load(llama_8b())) > eager
    assert formulas.overhead(load(llama_8b(), tensor_parallel_size=2)) > formulas.overhead(
        load(llama_8b())
    )


@pytest.mark.parametrize(
    "spec", [llama_8b(), llama_70b(), deepseek_v3(), gemma3_like(), mamba_like()],
    ids=lambda spec: spec.architecture + str(spec.num_layers),
)  # fmt: skip
@given(
    gib=st.integers(1, 2000), length=st.integers(1, 100_000), seqs=st.integers(1, 4096)
)  # fmt: skip
def test_the_greatest_concurrency_fits_and_one_more_does_not(
    spec: ModelSpec, gib: int, length: int, seqs: int
) -> None:
    wanted = replace(load(spec, max_num_seqs=seqs), length=length, max_model_len=length)
    usable = float(gib * GIB)
    most = formulas.max_concurrency(spec, wanted, usable)
    if most:
        assert formulas.needed(spec, replace(wanted, concurrency=most)) <= usable * (1 + 1e-12)
    more = formulas.needed(spec, replace(wanted, concurrency=most + 1))
    assert more > usable * (1 - 1e-12) or spec.kv_cache.bytes_per_token() == 0


@given(
    tensor=st.sampled_from([1, 2, 4, 8]),
    length=st.integers(16, 60_000),
    concurrency=st.integers(1, 500),
)
def test_more_work_never_needs_less_and_more_gpus_never_need_more(
    tensor: int, length: int, concurrency: int
) -> None:
    spec = llama_70b()
    base = replace(load(spec, tensor_parallel_size=tensor), length=length, concurrency=concurrency)
    need = formulas.needed(spec, base)
    assert formulas.needed(spec, replace(base, length=length + 100)) >= need
    assert formulas.needed(spec, replace(base, concurrency=concurrency + 1)) >= need
    assert formulas.weights(spec, replace(base, tensor=2 * tensor)) < formulas.weights(spec, base)
    assert formulas.kv_needed(spec, replace(base, tensor=2 * tensor)) <= formulas.kv_needed(
        spec, base
    )


def test_tensor_sizes_divide_heads_and_go_with_kv_heads() -> None:
    assert tensor_sizes(llama_8b(), 8) == [1, 2, 4, 8]
    assert tensor_sizes(llama_8b(), 64) == [1, 2, 4, 8, 16, 32]
    odd = llama_8b(num_attention_heads=28, num_kv_heads=4)
    assert tensor_sizes(odd, 64) == [1, 2, 4, 28]


@pytest.mark.parametrize("spec", [llama_8b(), llama_70b(), gemma3_like()])
@pytest.mark.parametrize("count", [1, 4])
def test_every_alternative_fits_when_its_settings_are_taken(spec: ModelSpec, count: int) -> None:
    check_rows(hardware.gpus(), lambda info: check_alternatives(spec, info, count))


def check_alternatives(spec: ModelSpec, info: hardware.GpuInfo, count: int) -> None:
    engine: dict[str, object] = {}

    def load_on(which: hardware.GpuInfo) -> MemoryDemand:
        return load_of(spec, engine, RELEASE, which, concurrency=64, length=8192)

    case = Fit(spec, load_on(info), info, count, RELEASE, load_on)
    for found in () if case.fits(case.load) else alternatives(case):
        if "use " in found.text or "shorten" in found.text:
            continue  # another source, other hardware, other requests: not settings alone
        wanted = found.settings.get("max_num_seqs", 64)
        again = load_of(spec, found.settings, RELEASE, info, concurrency=int(wanted), length=8192)
        assert case.fits(again), (found, formulas.needed(spec, again))


def test_a_model_without_a_cache_has_no_row_for_it() -> None:
    encoder = llama_8b(task=Task.EMBED, kv_cache=KVCache("none"))
    items = [row.item for row in formulas.rows(encoder, load(encoder), "max_model_len")]
    assert items == ["weights", "activations", "CUDA context and graphs"]
