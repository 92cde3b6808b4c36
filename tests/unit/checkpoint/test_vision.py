"""How vision-language checkpoints are described: placeholders, tokens of an image, families."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from support.vision import PUBLISHED, make_published
from trtbuild import checkpoint, toolchain
from trtbuild.modelspec import ModelSpec, Task, Vision


def spec_of(folder: Path) -> ModelSpec:
    return checkpoint.inspect(checkpoint.open_checkpoint(str(folder)))


@pytest.mark.parametrize(
    ("architecture", "family", "tokens"),
    [
        ("LlavaForConditionalGeneration", "llava", 576),
        ("LlavaNextForConditionalGeneration", "llava-next", 2928),
        ("Qwen2_5_VLForConditionalGeneration", "qwen2-vl", 16386),
        ("Qwen3VLForConditionalGeneration", "qwen3-vl", 16386),
        ("Gemma3ForConditionalGeneration", "gemma3", 260),
        ("InternVLChatModel", "internvl", 3330),
        ("InternVLForConditionalGeneration", "internvl", 3330),
        ("DeepseekOCRForCausalLM", "deepseek-ocr", 933),
        ("DeepseekOCR2ForCausalLM", "deepseek-ocr", 1121),
    ],
)
def test_the_largest_image_of_each_family_is_counted(
    tmp_path: Path, architecture: str, family: str, tokens: int
) -> None:
    spec = spec_of(make_published(tmp_path / "m", architecture))
    assert spec.task is Task.VISION_LANGUAGE
    assert spec.vision is not None
    assert (spec.vision.family, spec.vision.image_tokens) == (family, tokens)
    assert spec.vision.placeholder == toolchain.vision_placeholders()[architecture]
    assert spec.vision.encoder_parameters == 64 * 3 * 14 * 14 + 64 * 64
    assert spec.vision.processor


def test_every_family_has_its_placeholders_and_files_of_a_published_checkpoint() -> None:
    for family in toolchain.vision_families():
        assert set(family.architectures) <= toolchain.vision_placeholders().keys()
        assert set(family.architectures) & PUBLISHED.keys()
        assert set(family.why) <= set(family.engine)


def test_nonsense_in_the_files_leaves_the_count_open(tmp_path: Path) -> None:
    vision = {"image_size": "large", "patch_size": 0}
    odd = {"vision_config": vision, "force_image_size": 0, "downsample_ratio": 1e300}
    for name in ("LlavaForConditionalGeneration", "InternVLChatModel"):
        found = spec_of(make_published(tmp_path / name, name, **odd)).vision
        assert found is not None and found.image_tokens == 0


def test_a_missing_processor_is_noticed(tmp_path: Path) -> None:
    folder = make_published(tmp_path / "m", "LlavaForConditionalGeneration")
    (folder / "preprocessor_config.json").unlink()
    vision = spec_of(folder).vision
    assert vision is not None and not vision.processor


def test_code_of_a_processor_is_reported(tmp_path: Path) -> None:
    folder = make_published(tmp_path / "m", "InternVLChatModel")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({"auto_map": {"AutoImageProcessor": "mine.Processor"}}))
    assert spec_of(folder).code == ("processor",)


def test_placeholders_are_counted_by_what_the_server_replaces() -> None:
    qwen = toolchain.vision_of_table("Qwen3VLForConditionalGeneration")
    assert qwen is not None
    assert qwen.places("<|vision_start|><|image_pad|><|vision_end|><|image_pad|>a") == 2
    assert qwen.placed(2) == "<|vision_start|><|image_pad|><|vision_end|>" * 2
    phi = toolchain.vision_of_table("Phi3VForCausalLM")
    assert phi is not None
    assert phi.placed(2) == "<|image_1|><|image_2|>"
    assert phi.places("<|image_1|>a<|image_2|>b<|image_4|>") == 2
    assert Vision().places("<image>") == 0
    assert toolchain.vision_of_table("LlamaForCausalLM") is None


def test_the_description_survives_json() -> None:
    for family in toolchain.vision_families():
        vision = toolchain.vision_of_table(family.architectures[0])
        assert vision is not None
        assert Vision.from_dict(json.loads(json.dumps({**asdict(vision), "new": 1}))) == vision


@pytest.mark.parametrize(
    "damage",
    [
        {"placeholder": 1},
        {"images": "4"},
        {"images": True},
        {"sampling": "hot"},
        {"tasks": []},
        {"tasks": {"ocr": {}}},
        {"tasks": {"ocr": "Free OCR."}},
    ],
)
def test_a_damaged_description_is_refused(damage: dict[str, object]) -> None:
    vision = toolchain.vision_of_table("DeepseekOCRForCausalLM")
    assert vision is not None
    with pytest.raises((AttributeError, KeyError, TypeError, ValueError)):
        Vision.from_dict({**asdict(vision), **damage})
