"""Merge the architecture names of a vLLM release into ``data/architectures.toml``.

Usage: python scripts/add_architectures.py path/to/vllm/model_executor/models/registry.py

The registry is parsed, not imported. Names are only ever added: a checkpoint of an older
family stays known. Rows of ``[extra]`` are kept by hand, for what no registry says.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "src" / "trtbuild" / "data" / "architectures.toml"
# The registry's tables, in the order in which a name's first occurrence decides.
TABLES = {
    "_TEXT_GENERATION_MODELS": "generate",
    "_MULTIMODAL_MODELS": "vision-language",
    "_SEQUENCE_CLASSIFICATION_MODELS": "classify",
    "_TOKEN_CLASSIFICATION_MODELS": "token-classify",
    "_REWARD_MODELS": "classify",
    "_EMBEDDING_MODELS": "embed",
    "_LATE_INTERACTION_MODELS": "embed",
}
# The registry does not tell sound from pictures: a new audio model is moved here by hand.
AUDIO = (
    "# Of the multimodal ones, those whose only input beside text is sound: vLLM 0.32.0 has a",
    "# placeholder for audio in their class and none for images.",
)
# A masked language model makes embeddings only by what its files say beside the name.
NO_TASK = "ForMaskedLM"
# Tables without a task of their own: the name's ending says it.
BY_ENDING = ("_TRANSFORMERS_SUPPORTED_MODELS", "_PREVIOUSLY_SUPPORTED_MODELS")
ENDINGS = {"ForCausalLM": "generate", "ForConditionalGeneration": "vision-language"}


def registry_names(path: Path) -> dict[str, set[str]]:
    """Task to architecture names, from the registry's dict literals."""
    found: dict[str, set[str]] = {task: set() for task in TABLES.values()}
    seen: set[str] = set()
    literals = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            literals[ast.unparse(node.targets[0])] = node.value
    for table, task in TABLES.items():
        keys = [key.value for key in literals[table].keys if isinstance(key, ast.Constant)]
        found[task] |= {str(key) for key in keys if not str(key).endswith(NO_TASK)} - seen
        seen |= {str(key) for key in keys}
    for table in BY_ENDING:
        for key in literals[table].keys if table in literals else ():
            name = str(key.value) if isinstance(key, ast.Constant) else ""
            task = next((task for end, task in ENDINGS.items() if name.endswith(end)), "")
            if task and name not in seen:
                found[task].add(name)
    return found


def main() -> None:
    names = registry_names(Path(sys.argv[1]))
    known = tomllib.loads(DATA.read_text(encoding="utf-8")) if DATA.exists() else {}
    extra = known.pop("extra", {})
    placed = {name for listed in known.values() for name in listed} | set(extra)
    lines = [
        "# Architecture names by task; scripts/add_architectures.py merges vLLM's registry in.",
        "# What no registry says is added by hand under [extra], a name and its task.",
        "",
    ]
    for task, found in (names | {"audio": set()}).items():
        if task == "audio":
            lines += AUDIO
        merged = sorted(set(known.get(task, ())) | (found - placed))
        lines += [f"{task} = [", *(f'  "{name}",' for name in merged), "]", ""]
    lines += ["[extra]", *(f'{name} = "{task}"' for name, task in sorted(extra.items()))]
    DATA.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
