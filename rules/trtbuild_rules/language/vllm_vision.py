"""vLLM and images: what a vision-language checkpoint and its engine need."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import TOKENIZER, Example
from trtbuild.check.model import Severity
from trtbuild.toolchain import vision_family, vision_of_table
from trtbuild_rules.readers.served import ModelJson, release_of, vllm_table, weights
from trtbuild_rules.readers.tokenizing import settings

_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_JSON = '{ "model": "/models/m/1/weights"%s }'
_WEIGHTS = "m/1/weights/"
_LLAVA = {
    "architectures": ["LlavaForConditionalGeneration"],
    "model_type": "llava",
    "image_token_index": 4,
    "vision_config": {"image_size": 28, "patch_size": 14},
    "text_config": {"vocab_size": 5, "num_attention_heads": 2, "max_position_embeddings": 64},
}
_FLAGS = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
_TOKEN = {"id": 4, "content": "<image>", "special": True, **_FLAGS}
_PLACED = TOKENIZER.replace("[]", f"[ {json.dumps(_TOKEN)} ]")


def _example(
    arguments: str = "", config: Mapping[str, Any] = _LLAVA, tokenizer: str = _PLACED
) -> Example:
    files = {
        "m/1/model.json": _JSON % arguments,
        f"{_WEIGHTS}config.json": json.dumps(config),
        f"{_WEIGHTS}preprocessor_config.json": '{ "image_processor_type": "CLIPImageProcessor" }',
        f"{_WEIGHTS}tokenizer.json": tokenizer,
    }
    return Example(files=files, base="checkpoint")


def _without(name: str) -> Example:
    example = _example()
    return Example(files={**example.files, f"{_WEIGHTS}{name}": None}, base="checkpoint")


def _seeing(model: Model) -> Iterator[tuple[ModelJson, Path, Mapping[str, Any], str]]:
    """Every engine of a vision-language checkpoint with its directory, config and architecture."""
    for engine, folder in weights(model):
        config = settings(folder, model.repository.root, "config.json")
        named = config.get("architectures")
        architecture = str(named[0]) if isinstance(named, list) and named else ""
        if vision_of_table(architecture) is not None:
            yield engine, folder, config, architecture


@rule(
    "TRT781",
    "a request to a vision-language model may have an image",
    fix='remove limit_mm_per_prompt, or allow some images: {"image": 4}',
    severity=Severity.WARNING,
    backends=("vllm",),
    bad=_example(', "limit_mm_per_prompt": { "image": 0 }'),
    good=_example(', "limit_mm_per_prompt": { "image": 4 }'),
)
def images(model: Model) -> Problems:
    """With a limit of 0 the engine leaves the vision encoder out and refuses every image."""
    for engine, _, _, architecture in _seeing(model):
        limits = engine.settings.get("limit_mm_per_prompt")
        if isinstance(limits, dict) and limits.get("image") == 0:
            yield Problem(
                f"limit_mm_per_prompt allows no image, and {architecture} is a vision-language "
                "model",
                engine.json.of("limit_mm_per_prompt"),
                file=engine.file,
                server="Multi-modal processor not available for text-only models",
            )


@rule(
    "TRT782",
    "a vision-language checkpoint says how images are prepared",
    fix="fetch preprocessor_config.json (and processor_config.json, if there is one) from where "
    "the checkpoint came from, and convert again",
    backends=("vllm",),
    bad=_without("preprocessor_config.json"),
    good=_example(),
)
def processor(model: Model) -> Problems:
    """vLLM builds the processor when it loads the model, and needs at least one of the files."""
    for engine, folder, _, architecture in _seeing(model):
        if not any((folder / name).is_file() for name in _PROCESSORS):
            yield Problem(
                f"{architecture} needs preprocessor_config.json or processor_config.json, and the "
                "checkpoint has neither",
                engine.json.of("model"),
                file=engine.file,
                server="Can't load image processor for",
            )


@rule(
    "TRT783",
    "the engine has the settings of its vision-language family",
    fix="convert the checkpoint again, or write the value into model.json",
    severity=Severity.WARNING,
    backends=("vllm",),
    bad=_example(
        ', "enable_prefix_caching": true',
        {"architectures": ["DeepseekOCRForCausalLM"], "model_type": "deepseek_vl_v2"},
    ),
    good=_example(
        ', "enable_prefix_caching": false, "mm_processor_cache_gb": 0, "logits_processors": '
        '["vllm.model_executor.models.deepseek_ocr:NGramPerReqLogitsProcessor"]',
        {"architectures": ["DeepseekOCRForCausalLM"], "model_type": "deepseek_vl_v2"},
    ),
)
def family_settings(model: Model) -> Problems:
    """Some families need more than vLLM's defaults: DeepSeek-OCR repeats itself without its
    n-gram processor, and has no use for caches of prefixes and of images."""
    table = vllm_table(release_of(model))
    for engine, _, _, architecture in _seeing(model):
        family = vision_family(architecture)
        for key, wanted in (family.engine if family else {}).items():
            known = table is None or key in table.arguments
            if family and known and not _has(engine.settings.get(key), wanted):
                given = "is missing" if key not in engine.settings else "has another value"
                yield Problem(
                    f"{key} {given}: {family.title} wants {json.dumps(wanted)}, else "
                    f"{family.why.get(key, 'answers may differ')}",
                    engine.json.of(key if key in engine.settings else "model"),
                    file=engine.file,
                )


def _has(given: Any, wanted: Any) -> bool:
    """Whether a value is the wanted one, or a list that contains it."""
    if isinstance(wanted, list):
        return isinstance(given, list) and all(item in given for item in wanted)
    return bool(given == wanted) and given is not None


@rule(
    "TRT784",
    "the tokenizer has the placeholder of an image under the id of config.json",
    fix="fetch tokenizer.json and config.json again, from the same revision",
    backends=("vllm",),
    bad=_example(tokenizer=TOKENIZER),
    good=_example(),
)
def placeholder(model: Model) -> Problems:
    """vLLM puts an image where the placeholder's token is. It tries this with a made-up image when
    it loads the model, and fails if the tokenizer makes other tokens of it."""
    for engine, folder, config, architecture in _seeing(model):
        vision = vision_of_table(architecture)
        wanted = config.get("image_token_id", config.get("image_token_index"))
        tokens = _tokens(folder, model.repository.root)
        # Gemma 3 replaces a token that stands before the image's own ones.
        if vision is None or type(wanted) is not int or not tokens or "boi_token_index" in config:
            continue
        found = tokens.get(vision.marker)
        if found != wanted:
            said = "does not have it" if found is None else f"gives it the id {found}"
            yield Problem(
                f"the placeholder {vision.marker} has the id {wanted} in config.json, and the "
                f"tokenizer {said}",
                engine.json.of("model"),
                file=engine.file,
                server="Failed to apply prompt replacement for mm_items['image'][0]",
            )


def _tokens(folder: Path, root: Path) -> dict[str, int]:
    """The ids of the tokenizer's added tokens and words; empty without a ``tokenizer.json``."""
    document = settings(folder, root, "tokenizer.json")
    model, added = document.get("model"), document.get("added_tokens")
    words = model.get("vocab") if isinstance(model, dict) else None
    found = {**words} if isinstance(words, dict) else {}
    for token in added if isinstance(added, list) else []:
        if isinstance(token, dict) and isinstance(token.get("content"), str):
            found[token["content"]] = token.get("id")
    return found
