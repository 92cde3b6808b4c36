"""What the vLLM builder writes for vision-language families, and refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from support.vision import vision_spec
from trtbuild import pbtxt, toolchain
from trtbuild.builder import Case
from trtbuild.errors import RecipeError
from trtbuild.modelspec import ModelSpec, TokenizerInfo
from trtbuild.recipe import ModelRecipe
from trtbuild_builders.vllm import builder

PROCESSOR = "vllm.model_executor.models.deepseek_ocr:NGramPerReqLogitsProcessor"


def case(spec: ModelSpec, triton: str = "26.07", **recipe: Any) -> Case:
    model = ModelRecipe(**{"source": "x", "name": "seer"} | recipe)
    return Case(spec, model, toolchain.load(triton))


def written(made: Case) -> dict[str, bytes]:
    (entry,) = builder.models(made)
    return {file.path: file.content for file in entry.files}


def engine_of(spec: ModelSpec, triton: str = "26.07", **recipe: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(written(case(spec, triton, **recipe))["1/model.json"])
    return found


def test_deepseek_ocr_has_its_processor_and_no_caches() -> None:
    assert engine_of(vision_spec()) == {
        "model": "/models/seer/1/weights",
        "enable_prefix_caching": False,
        "mm_processor_cache_gb": 0,
        "logits_processors": [PROCESSOR],
        "limit_mm_per_prompt": {"image": 4},
    }
    assert builder.reasons_unsupported(case(vision_spec())) == ()


def test_its_card_has_what_a_client_needs() -> None:
    card = builder.signature(case(vision_spec(), engine={"limit_mm_per_prompt": {"image": 1}}))
    assert card.vision is not None
    assert card.vision.images == 1
    assert card.vision.sampling["extra_args"]["ngram_size"] == 30
    assert "{text}" in card.vision.tasks["locate"].prompt


def test_video_is_turned_off_where_the_release_can() -> None:
    qwen = vision_spec("Qwen2_5_VLForConditionalGeneration")
    assert engine_of(qwen)["limit_mm_per_prompt"] == {"image": 4, "video": 0}
    assert engine_of(qwen, "25.04")["limit_mm_per_prompt"] == {"image": 4}


def test_an_older_release_gets_only_what_it_has() -> None:
    llava = vision_spec("LlavaForConditionalGeneration")
    assert engine_of(llava, "24.12") == {
        "model": "/models/seer/1/weights",
        "limit_mm_per_prompt": {"image": 4},
        "disable_log_requests": True,
    }
    config = pbtxt.parse(written(case(llava, "24.12"))["config.pbtxt"].decode())
    image = next(tensor for tensor in config.input if tensor.name == "image")
    assert list(image.dims) == [-1] and image.optional
    (reason,) = builder.reasons_unsupported(case(llava, "24.10"))
    assert "cannot serve vision-language models: use --triton 24.12 or newer" in reason


def test_the_users_settings_win() -> None:
    chosen = {"enable_prefix_caching": True, "limit_mm_per_prompt": {"image": 9}}
    engine = engine_of(vision_spec(), engine=chosen)
    assert engine["enable_prefix_caching"] is True
    assert engine["limit_mm_per_prompt"] == {"image": 9}


def test_a_limit_of_no_images_is_refused() -> None:
    with pytest.raises(RecipeError) as refused:
        engine_of(vision_spec(), engine={"limit_mm_per_prompt": {"image": 0}})
    assert "limit_mm_per_prompt allows no image" in str(refused.value)


def test_a_missing_processor_is_said_before_a_conversion_refuses_it() -> None:
    """TRT782 refuses what would be written; a plan of a configuration alone still has sizes."""
    spec = vision_spec("LlavaForConditionalGeneration")
    assert spec.vision is not None
    spec = replace(spec, vision=replace(spec.vision, processor=False))
    assert builder.reasons_unsupported(case(spec)) == ()
    assert "neither preprocessor_config.json nor" in builder.warnings(case(spec))[0]


def test_code_of_a_processor_needs_permission_unless_vllm_has_its_own() -> None:
    own = {"remote_code": True, "code": ("processor",)}
    assert builder.reasons_unsupported(case(vision_spec(**own))) == ()
    other = vision_spec("KimiVLForConditionalGeneration", **own)
    (reason,) = builder.reasons_unsupported(case(other))
    assert "code for its processor (auto_map)" in reason
    assert builder.reasons_unsupported(case(other, trust_remote_code=True)) == ()
    assert engine_of(other, trust_remote_code=True)["trust_remote_code"] is True


def test_warnings_name_an_old_release_and_a_short_context() -> None:
    told = " ".join(builder.warnings(case(vision_spec(), "25.12")))
    assert "DeepSeek-OCR needs a logits processor" in told and "--triton 26.01" in told
    newer = " ".join(builder.warnings(case(vision_spec())))
    assert "logits processor" not in newer and "VLLM_USE_V2_MODEL_RUNNER=0" in newer
    small = vision_spec("LlavaForConditionalGeneration", image_tokens=576)
    told = " ".join(builder.warnings(case(small, engine={"max_model_len": 512})))
    assert "up to 576 tokens and the context has 512" in told
    unlisted = vision_spec("KimiVLForConditionalGeneration", tokenizer=TokenizerInfo("fast"))
    assert "in no row of the vision-language families" in " ".join(builder.warnings(case(unlisted)))
