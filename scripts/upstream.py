"""Read what a release contains from the public sources of its parts.

Used by add_release.py. Each function raises OSError (which URLError is) for what cannot be read.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

GITHUB = "https://raw.githubusercontent.com"
PYPI = "https://pypi.org"
LLM_ARGS = "tensorrt_llm/llmapi/llm_args.py"
# LoraConfig moved here from another module, which LLM() of the first releases was read without.
LORA = "tensorrt_llm/lora_helper.py"
MODELS = "docs/source/models/supported-models.md"


def text_of(address: str) -> str:
    """The text behind a URL."""
    with urllib.request.urlopen(address, timeout=30) as answer:
        return str(answer.read().decode("utf-8"))


def trtllm_text(version: str, path: str) -> str:
    """A file of TensorRT-LLM's sources, at the tag of a release."""
    return text_of(f"{GITHUB}/NVIDIA/TensorRT-LLM/v{version}/{path}")


def llm_sources(version: str, directory: Path) -> tuple[list[Path], Path]:
    """The modules that declare the arguments of ``LLM()``, and the page that lists its models."""
    modules = [_saved(version, LLM_ARGS, directory)]
    try:
        modules.append(_saved(version, LORA, directory))
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
    return modules, _saved(version, MODELS, directory)


def _saved(version: str, path: str, directory: Path) -> Path:
    saved = directory / Path(path).name
    saved.write_text(trtllm_text(version, path), encoding="utf-8")
    return saved


def transformers_pin(version: str) -> str:
    """The only release of transformers that a TensorRT-LLM accepts; empty if it accepts more."""
    requirements = trtllm_text(version, "requirements.txt")
    match = re.search(r"(?m)^transformers\s*==\s*([\d.]+)\s*(?:[#;].*)?$", requirements)
    return match[1] if match else ""


def advisories(project: str, version: str) -> dict[str, set[str]]:
    """The known vulnerabilities of a release on PyPI: each id with all names that it has.

    The field is described at https://docs.pypi.org/api/json/#known-vulnerabilities.
    """
    answer = json.loads(text_of(f"{PYPI}/pypi/{project}/{version}/json"))
    open_ones = [one for one in answer.get("vulnerabilities", ()) if not one.get("withdrawn")]
    return {one["id"]: {one["id"], *one.get("aliases", ())} for one in open_ones}


def unlisted(found: dict[str, set[str]], listed: Iterable[str]) -> list[str]:
    """The vulnerabilities that no row names, by their CVE number where they have one."""
    known = set(listed)
    return sorted({min(names) for names in found.values() if not names & known})
