"""What a user should know of a vision-language family before serving it."""

from __future__ import annotations

from collections.abc import Iterator

from trtbuild.builder import Case
from trtbuild.toolchain import vision_family


def family_warnings(case: Case) -> Iterator[str]:
    """Warn about a release too old for the family, and about room that images will not have."""
    vision = case.spec.vision
    if vision is None:
        return
    if not vision.processor and case.spec.layout == "hf":
        yield (
            "the checkpoint has neither preprocessor_config.json nor processor_config.json, which "
            "vLLM needs to load it: download them from the checkpoint's source"
        )
    family = vision_family(case.spec.architecture)
    if family is None:
        yield (
            f"{case.spec.architecture} is in no row of the vision-language families, so nothing "
            "but vLLM's defaults was written for images: compare an answer with transformers'"
        )
    elif family.since and case.toolchain.triton < family.since:
        yield (
            f"{family.title} needs a logits processor that releases before {family.since} may "
            f"skip at temperature 0, and then repeats itself: use --triton {family.since} or newer"
        )
    if family and family.environment:
        names = " ".join(f"{key}={value}" for key, value in family.environment.items())
        yield (
            f"{family.title} needs a server with {names}: trtbuild serve sets it; set it yourself "
            "where the server is started by something else"
        )
    length = case.recipe.engine.get("max_model_len") or case.spec.context_length
    if vision.image_tokens and 0 < length < vision.image_tokens:
        yield (
            f"a large image takes up to {vision.image_tokens:,} tokens and the context has "
            f"{length:,}: it will be refused unless max_model_len is raised or images are smaller"
        )
