"""What serving a checkpoint in a release takes: its code, or transformers' own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trtbuild.modelspec import ModelSpec, Task
from trtbuild.toolchain import (
    Reading,
    Toolchain,
    trtllm_reading,
    trtllm_release,
    trtllm_versions,
    vision_family,
    vllm_reading,
    vllm_release,
)

if TYPE_CHECKING:
    from trtbuild.recipe.model import ModelRecipe


@dataclass(frozen=True, slots=True)
class EngineSupport:
    """How the engine of an image takes a checkpoint.

    Attributes:
        engine: Its name and version.
        reading: What it reads checkpoints with; None for an engine of somebody else.
        wrapper: Its class that runs transformers' code of an architecture it has none of.
        needed: The parts of :attr:`ModelSpec.code` without which it cannot serve the model.
        respelled: What it would misread unless it is written in the older spelling as well.
    """

    engine: str
    reading: Reading | None
    wrapper: str
    needed: tuple[str, ...]
    respelled: tuple[str, ...] = ()

    def runs_code(self, recipe: ModelRecipe) -> bool:
        """Whether the server is to run the checkpoint's code."""
        return bool(self.needed) and recipe.trust_remote_code


def engine_support(spec: ModelSpec, tools: Toolchain, image: str) -> EngineSupport:
    """How the engine in ``image``, one of a release's two, takes ``spec``."""
    if image and image == tools.trtllm_image:
        known = tools.trtllm in trtllm_versions()
        native = not known or spec.architecture in trtllm_release(tools.trtllm).architectures
        return _support(spec, trtllm_reading(tools.trtllm), native=native)
    if image and image == tools.vllm_image:
        native = bool(vllm_release(tools.vllm).tasks_of(spec.architecture))
        return _support(spec, vllm_reading(tools.vllm), native=native)
    return EngineSupport("the server", None, "", spec.code)


def _support(spec: ModelSpec, reading: Reading, *, native: bool) -> EngineSupport:
    wrapper = "" if native else reading.wrapper(spec.architecture, spec.task.value)
    unknown = {
        "configuration": not reading.knows_type(spec.model_type),
        "model": not native and not wrapper,
        "tokenizer": not reading.knows_tokenizer(spec.tokenizer.tokenizer_class),
        "processor": spec.task is Task.VISION_LANGUAGE and not _brings_processor(spec),
    }
    needed = tuple(part for part in spec.code if unknown[part])
    respelled = spec.spelling if reading.maybe_four else ()
    if reading.reads_dtype:
        respelled = tuple(key for key in respelled if key != "dtype")
    return EngineSupport(reading.engine, reading, wrapper, needed, respelled)


def _brings_processor(spec: ModelSpec) -> bool:
    """Whether engines that have the architecture prepare images with classes of their own."""
    family = vision_family(spec.architecture)
    return family is not None and family.processor


def listed(parts: tuple[str, ...]) -> str:
    """Words with commas and an *and*."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
