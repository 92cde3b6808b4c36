"""How a vision-language model takes images: the placeholder, their tokens, its named tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_KINDS = {
    **dict.fromkeys(("family", "placeholder", "marker", "after", "boxes", "end"), str),
    **dict.fromkeys(("image_tokens", "encoder_parameters", "images"), int),
}


@dataclass(frozen=True, slots=True)
class VisionTask:
    """A named prompt of a family.

    Attributes:
        prompt: The text after the placeholder; ``{text}`` is what the user gives.
        boxes: What the label of a box in the answer is: the ``kind`` of a region, or the ``text``
            in it; empty for a task without boxes.
    """

    prompt: str
    boxes: str = ""

    @property
    def takes_text(self) -> bool:
        """Whether the prompt has a place for the user's text."""
        return "{text}" in self.prompt


@dataclass(frozen=True, slots=True)
class Vision:
    """How a model takes images.

    Attributes:
        family: Its row in ``vision_families.toml``; empty if only its placeholder is known.
        placeholder: What stands for each image in a prompt, ``{i}`` its number from 1; empty:
            unknown, or the processor needs none.
        marker: The part of it that the server replaces.
        after: What stands between the placeholders and a prompt without a chat template.
        image_tokens: The most tokens of the context that an image takes; 0 if unknown.
        encoder_parameters: Parameters of the vision encoder and its projector, part of the model's.
        processor: Whether a file says how images are prepared.
        images: The most images of a request, as served; 0 if the engine decides.
        tasks: Named prompts.
        sampling: What a request has unless it says otherwise, by vLLM's names.
        boxes: How the answer marks boxes: ``ref-det`` (DeepSeek-OCR), empty for not at all.
        end: Text at the end of an answer that is not part of it.
    """

    family: str = ""
    placeholder: str = ""
    marker: str = ""
    after: str = ""
    image_tokens: int = 0
    encoder_parameters: int = 0
    processor: bool = True
    images: int = 0
    tasks: Mapping[str, VisionTask] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    boxes: str = ""
    end: str = ""

    def places(self, prompt: str) -> int:
        """How many images ``prompt`` has a placeholder for."""
        if "{i}" not in self.marker:
            return prompt.count(self.marker) if self.marker else 0
        number = 0
        while self.marker.replace("{i}", str(number + 1)) in prompt:
            number += 1
        return number

    def placed(self, count: int) -> str:
        """The placeholders of ``count`` images."""
        return "".join(self.placeholder.replace("{i}", str(at + 1)) for at in range(count))

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Vision:
        """Reverse :func:`dataclasses.asdict`; unknown keys are ignored.

        Raises:
            AttributeError, TypeError, ValueError: ``value`` is not such a description.
        """
        known = {key: value[key] for key in cls.__dataclass_fields__ if key in value}
        tasks = known.get("tasks", {})
        known["tasks"] = {
            str(name): VisionTask(str(one["prompt"]), str(one.get("boxes", "")))
            for name, one in tasks.items()
        }
        known["sampling"] = {**known.get("sampling", {})}
        made = cls(**known)
        wrong = [key for key, kind in _KINDS.items() if type(getattr(made, key)) is not kind]
        if wrong:
            raise ValueError(f"vision.{wrong[0]}")
        return made
