"""Images in a prompt: named tasks, placeholders, and the chat template with image parts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtbuild.errors import UsageError
from trtbuild.modelspec import Vision, VisionTask
from trtbuild.signature import ServedModel, ServedTask
from trtbuild.signature.images import Template, place_images
from trtbuild.toolchain import vision_of_table, vision_placeholders


def vision_of(model: ServedModel | None, repository: Path) -> Vision | None:
    """Return how a served model takes images: as its card says, else by its architecture.

    None for a model that takes none, or of which nothing is known.
    """
    if model is None or model.vision is not None:
        return model.vision if model else None
    architecture = _architecture(repository / model.weights) if model.weights else ""
    return vision_of_table(architecture)


def is_text_model(model: ServedModel | None, repository: Path) -> bool:
    """Whether the files of a model say that it takes no images."""
    if model is None or model.vision or model.task is ServedTask.VISION_LANGUAGE:
        return False
    known = _architecture(repository / model.weights) if model.weights else ""
    return bool(known) and vision_of_table(known) is None and not _sees(repository / model.weights)


def _architecture(weights: Path) -> str:
    names = _json(weights / "config.json").get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def _sees(weights: Path) -> bool:
    return any(
        (weights / f"{name}_config.json").is_file() for name in ("preprocessor", "processor")
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Seeing:
    """How the images of a request get into its prompt.

    Attributes:
        name: The model.
        vision: How it takes images; None if unknown.
        images: How many images the request has.
        task: The name of a task of its family, empty for a prompt of the user's.
    """

    name: str
    vision: Vision | None
    images: int
    task: str = ""

    def __post_init__(self) -> None:
        most = self.vision.images if self.vision else 0
        if most and self.images > most:
            raise UsageError(
                f"{self.name!r} takes at most {most} images in a request, and this one has "
                f"{self.images}",
                fix="send fewer, or convert it again with a higher limit: --set "
                f"limit_mm_per_prompt='{{\"image\": {self.images}}}'",
            )

    @property
    def named(self) -> VisionTask | None:
        """The task; UsageError if the model's family has none of that name."""
        if not self.task:
            return None
        tasks = self.vision.tasks if self.vision else {}
        if self.task not in tasks:
            none = "its family has no named tasks, or is not known (--url reads no repository)"
            known = f"its tasks are {', '.join(tasks)}" if tasks else none
            raise UsageError(
                f"{self.name!r} has no task {self.task!r}",
                fix=f"{known}; or write a prompt with -p TEXT",
            )
        return tasks[self.task]

    def prompt(self, given: str, template: Template | None = None) -> str:
        """Return the prompt with one placeholder for each image.

        A prompt that has its placeholders is left alone. Otherwise they come from the chat
        template's image parts, or stand before the text.

        Raises:
            UsageError: The prompt has places for more or fewer images than the request has.
        """
        return place_images(self._text(given), self.images, self.vision or Vision(), template)

    def wants_template(self, given: str) -> bool:
        """Whether a prompt needs the checkpoint's chat template: it has no places of its own."""
        return bool(self.images and self.vision and not self.task) and not (
            self.vision and self.vision.places(given)
        )

    def doubt(self, prompt: str) -> str:
        """What to tell the user if nothing says where the model looks for its images."""
        known = self.vision is not None or any(p in prompt for p in vision_placeholders().values())
        if known or not self.images:
            return ""
        return (
            "it is not known what stands for an image in the prompt of this model: write it "
            "yourself, or the model answers without seeing the image"
        )

    def _text(self, given: str) -> str:
        task = self.named
        if task is None:
            return given
        if not self.images:
            raise UsageError(
                f"the task {self.task!r} is about an image", fix="give it with --image FILE"
            )
        if task.takes_text and not given:
            raise UsageError(
                f"the task {self.task!r} needs a text", fix="give what to look for with -p TEXT"
            )
        if given and not task.takes_text:
            raise UsageError(
                f"the task {self.task!r} has a prompt of its own",
                fix="leave out --task or the text",
            )
        return task.prompt.replace("{text}", given)
