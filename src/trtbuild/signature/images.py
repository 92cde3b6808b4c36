"""Images in a prompt: one placeholder for each, inserted once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from trtbuild.errors import UsageError
from trtbuild.modelspec import Vision

Content = str | Sequence[Mapping[str, str]]
Template = Callable[[Content], str]
"""Renders the content of a message, text or parts, in a chat template."""


def place_images(text: str, images: int, vision: Vision, template: Template | None = None) -> str:
    """Return the prompt with a placeholder for each image.

    A text that has its placeholders is left alone. Otherwise they come from the chat template's
    image parts, or stand before the text where there is no template, or one that takes text only.
    Nothing is checked for a model whose placeholder is unknown.

    Raises:
        UsageError: The prompt has places for more or fewer images than there are.
    """
    if not vision.placeholder:
        content = _parts(text, images) if images else text
        return template(content) if template else text
    if vision.places(text) or not images:
        made = template(text) if template else text
    else:
        made = _placed(text, images, vision, template)
    _require_places(made, images, vision)
    return made


def _parts(text: str, images: int) -> Content:
    return [*({"type": "image"} for _ in range(images)), {"type": "text", "text": text}]


def _placed(text: str, images: int, vision: Vision, template: Template | None) -> str:
    before = vision.placed(images) + (vision.after or "\n" * bool(template))
    if template is None:
        return before + text
    try:
        made = template(_parts(text, images))
    except UsageError:  # it takes text only
        made = ""
    return made if vision.places(made) == images else template(before + text)


def _require_places(prompt: str, images: int, vision: Vision) -> None:
    places = vision.places(prompt)
    if places == images:
        return
    if not images:
        raise UsageError(
            f"the prompt has a place for an image ({vision.marker}), and there is no image",
            fix="give it with --image FILE, or leave the placeholder out",
        )
    raise UsageError(
        f"the prompt has {_places(places)} and the request has {images}",
        fix=f"write {vision.placed(1)} once for each image, or leave it out everywhere",
    )


def _places(count: int) -> str:
    return "a place for 1 image" if count == 1 else f"places for {count} images"
