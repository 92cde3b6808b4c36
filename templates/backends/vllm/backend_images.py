"""Images and their places in a prompt: what vLLM does not check, or says in its own words."""

import asyncio
import re

import backend_request

# What vLLM raises where a prompt has fewer placeholders than images (multimodal/processing).
_UNPLACED = "Failed to apply prompt replacement for mm_items"


async def decode(request):
    """Turn base64 into pictures on another thread: a large one takes a second."""
    if getattr(request, "images", None):
        import request_images

        request.images = await asyncio.to_thread(request_images.pictures, request.images)


def placeholder_of(model_config):
    """What stands for an image in a prompt; empty if its class has nothing, None: a text model."""
    if not model_config.is_multimodal_model:
        return None
    try:
        from vllm.model_executor.model_loader.utils import get_model_cls

        return get_model_cls(model_config).get_placeholder_str("image", 1) or ""
    except Exception:  # a class that raises for images
        return ""


def require_places(prompt, images, placeholder):
    """RequestError for images that the model cannot take, or that its prompt has places for and
    the request does not have.

    vLLM leaves the others in the prompt as if they were text, and the model answers about an
    image that it has not seen.
    """
    if placeholder is None:
        if images:
            raise backend_request.RequestError("this model takes no images: it is a text model")
        return
    marker = _marker(placeholder)
    places = prompt.count(marker) if marker else 0
    if places > len(images):
        raise backend_request.RequestError(
            f"the prompt has {_count(places, 'place')} for images ({marker}) and the request "
            f"{_count(len(images), 'image')}: send an image for each in 'image'"
        )


def require_ngram(extra_args):
    """RequestError for what DeepSeek-OCR's logits processor would fail on in the engine's own step,
    which would end the engine for everybody."""
    listed = (extra_args or {}).get("whitelist_token_ids")
    if listed is None or "ngram_size" not in extra_args:
        return
    if not isinstance(listed, list) or any(type(token) is not int for token in listed):
        raise backend_request.RequestError(
            f"'whitelist_token_ids' of 'extra_args' must be a list of token ids, got {listed!r:.80}"
        )


def is_unplaced(error):
    """Whether vLLM found no placeholder for an image of the request."""
    return isinstance(error, AssertionError) and _UNPLACED in str(error)


def unplaced(images, placeholder):
    """What a client is told of a prompt with fewer placeholders than images."""
    what = f"'{placeholder}'" if placeholder else "the model's image placeholder"
    return (
        f"the prompt has no place for {'the image' if images == 1 else f'each of {images} images'}"
        f", so the model would not see it: write {what} in 'text_input' once for each image"
    )


def _marker(placeholder):
    """The part that vLLM replaces: of three tokens the middle one."""
    tokens = re.findall(r"<[^<>]+>", placeholder)
    whole = "".join(tokens) == placeholder
    return tokens[1] if whole and len(tokens) == 3 else placeholder


def _count(number, noun):
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
