"""A checkpoint's own Python code (``auto_map``): what it is for. It is read, never run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from trtbuild.checkpoint.model import Checkpoint
from trtbuild.checkpoint.problems import json_object

PROCESSORS = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")
_PARTS = {"AutoConfig": "configuration", "AutoTokenizer": "tokenizer"}
# The condition of transformers' is_backend_compatible, which vLLM checks before it wraps a class.
_WRAPS = re.compile(rb"^\s+_supports_attention_backend\s*=\s*True", re.MULTILINE)


def parts_of(checkpoint: Checkpoint, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the checkpoint has code for: ``configuration``, ``model``, ``tokenizer``,
    ``processor``; ``settings`` is ``tokenizer_config.json``."""
    found = {*_mapped(checkpoint.config), *_mapped(settings, otherwise="tokenizer")}
    for name in PROCESSORS:
        raw = checkpoint.read_bytes(name)
        if raw is not None:
            found |= set(_mapped(json_object(raw, name), otherwise="processor"))
    return tuple(sorted(found))


def _mapped(document: Mapping[str, Any], otherwise: str = "model") -> Iterable[str]:
    """Return the parts that ``auto_map`` names; in its first form it is a list."""
    mapped = document.get("auto_map")
    if isinstance(mapped, dict):
        for key, value in mapped.items():
            if value:
                kind = "model" if key.startswith("AutoModel") else otherwise
                yield _PARTS.get(key, "processor" if "Process" in key else kind)
    elif mapped:
        yield otherwise


def wraps(checkpoint: Checkpoint) -> bool:
    """Whether vLLM can wrap its modeling class, according to the source."""
    mapped = checkpoint.config.get("auto_map")
    references = mapped.values() if isinstance(mapped, dict) else ()
    files = {str(ref).rpartition(".")[0] + ".py" for ref in references if "--" not in str(ref)}
    sources = (checkpoint.read_bytes(name) for name in sorted(files))
    return any(source and _WRAPS.search(source) for source in sources)
