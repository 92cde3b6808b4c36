"""Write ``data/transformers.json``: what each engine release reads checkpoints with.

A maintainer's chore, run after ``add_vllm_engine_args.py`` when a release was added:

    python scripts/add_transformers.py                          # the vLLM releases without a row
    python scripts/add_transformers.py --all                    # every one, 400 MB each
    python scripts/add_transformers.py --wheels /tmp/wheels     # keeps and reuses the wheels there
    python scripts/add_transformers.py --trtllm 1.3.0=4.57.1    # a pin of TensorRT-LLM

Of each vLLM release: the oldest transformers that it accepts (what an image carries is at least
that new), the configuration classes that it brings itself, and what it can wrap transformers' own
code in. Of each of those transformers releases: its model types, its tokenizer classes, and its
architectures, with whether their attention goes through transformers' attention interface, which
is what vLLM asks for before it wraps one: by a flag (``is_backend_compatible``), in newer vLLM
also by the module's source (``_can_set_attn_implementation``). Sources are parsed, never imported.

TensorRT-LLM pins one release in its requirements.txt; the table keeps the pins that it was given.
4.57.1 was read at commit 000867d9 of its main branch, between 1.2.0rc and 1.2.1. The pins of 1.0
and 1.1 were not read: 4.51.1 is what 0.21, the release before them, was made with, so theirs are
at least that and below 5.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.version import Version

DATA = Path(__file__).parents[1] / "src" / "trtbuild" / "data"
TABLE = DATA / "transformers.json"
NEAREST = {"0.9.0rc1": "0.9.0"}
EMBEDDED = ("0.32.0", "5.19.0")  # vLLM and transformers of data/runtime/requirements.txt
TASKS = {
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES": "generate",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES": "vision-language",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": "classify",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES": "transcribe",
    "MODEL_FOR_CTC_MAPPING_NAMES": "transcribe",
    "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES": "token-classify",
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES": "image-classify",
    "MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES": "embed",
    "MODEL_MAPPING_NAMES": "embed",
}
# Tables that name only models of text, or of pictures.
SURE = ("MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES", "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES")
TEXT = ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "MODEL_FOR_MASKED_LM_MAPPING_NAMES")
# A layer that keeps a state from token to token. vLLM's wrapper gives attention a cache and
# nothing else, so without its state such a layer computes another text.
STATEFUL = re.compile(r"\b(conv_states?|ssm_states?|recurrent_states?|linear_cache|rec_states?)\b")
ATTENTION = re.compile(r"^class \w*Attention\w*\(nn\.Module\):", re.MULTILINE)
BACKENDS = ("TokenizersBackend", "SentencePieceBackend", "PythonBackend")


def main() -> None:
    """Read every wheel and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("more", nargs="*", help="vLLM releases besides those of toolchains.toml")
    parser.add_argument("--wheels", type=Path, help="directory to keep the wheels in")
    parser.add_argument("--all", action="store_true", help="read every vLLM release again")
    parser.add_argument("--trtllm", default="", metavar="RELEASE=TRANSFORMERS", help="its pin")
    options = parser.parse_args()
    old: dict[str, dict[str, Any]] = json.loads(TABLE.read_text(encoding="utf-8"))
    known = {} if options.all else old["vllm"]
    release, _, pin = options.trtllm.partition("=")
    pins = old["tensorrt-llm"] | ({release: str(Version(pin))} if release else {})
    pins = {name: pins[name] for name in sorted(pins, key=Version)}
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.wheels or Path(scratch)
        vllm = {
            version: known.get(version) or vllm_facts(version, folder)
            for version in vllm_versions([*known, *options.more])
        }
        read = {row["transformers"] for row in vllm.values()} | set(pins.values())
        releases = sorted(read | {EMBEDDED[1]}, key=Version)
        facts = {
            version: Release(version, wheel("transformers", version, folder))
            for version in releases
        }
    write(vllm, pins, facts)


def vllm_versions(more: list[str]) -> list[str]:
    """Those of the toolchain table, the embedded runtime's, and ``more``."""
    table = tomllib.loads((DATA / "toolchains.toml").read_text(encoding="utf-8"))
    wanted = {row["vllm"] for row in table["release"] if row["vllm"]} | {EMBEDDED[0], *more}
    return sorted(wanted, key=Version)


def wheel(project: str, version: str, folder: Path) -> zipfile.ZipFile:
    """The wheel of a release, downloaded unless ``folder`` has it."""
    found = sorted(folder.glob(f"{project}-{version}-*.whl"))
    if not found:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        subprocess.run([*pip, "--dest", str(folder), f"{project}=={version}"], check=True)
        found = sorted(folder.glob(f"{project}-{version}-*.whl"))
    return zipfile.ZipFile(found[0])


def vllm_facts(version: str, folder: Path) -> dict[str, object]:
    """The requirement, the own configuration classes and the wrappers of a vLLM release."""
    source = NEAREST.get(version, version)
    with wheel("vllm", source, folder) as archive:
        metadata = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
        requires = next(
            line.removeprefix("Requires-Dist: ").replace(" ", "")
            for line in lines
            if re.match(r"Requires-Dist: transformers\b", line)
        )
        config = archive.read("vllm/transformers_utils/config.py").decode()
        registry = [n for n in archive.namelist() if n.endswith("models/registry.py")]
        text = archive.read(registry[0]).decode() if registry else ""
    oldest = re.search(r">=([\d.]+)", requires)
    assert oldest, requires
    # The first releases asked transformers before they looked into their own classes.
    first = "AutoConfig.register" in config or "get_config_dict" in config
    own = registered(ast.parse(config), "_CONFIG_REGISTRY") if first else set()
    return {
        "requires": requires,
        "transformers": oldest[1],
        "asks": ["flag", *["source"] * ("_can_set_attn_implementation" in text)],
        "own_types": sorted(own),
        "wrappers": sorted(set(re.findall(r'"(Transformers\w+)":\s*\(\s*"transformers', text))),
    }


def registered(tree: ast.Module, name: str) -> set[str]:
    """The keys of a registry, written as a dict or as a call with keywords."""
    keys: set[str] = set()
    for node in tree.body:
        targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
        named = any(isinstance(t, ast.Name) and t.id == name for t in targets)
        if not named or getattr(node, "value", None) is None:
            continue
        for part in ast.walk(node.value):  # type: ignore[attr-defined]
            if isinstance(part, ast.Dict):
                keys |= {str(k.value) for k in part.keys if isinstance(k, ast.Constant)}
            if isinstance(part, ast.keyword) and part.arg:
                keys.add(part.arg)
    return keys


class Release:
    """One transformers release, as its wheel says it."""

    def __init__(self, version: str, archive: zipfile.ZipFile) -> None:
        self.version, self._archive = version, archive
        self._names = set(archive.namelist())
        auto = "transformers/models/auto/"
        self.model_types: set[str] = set()
        for name in (f"{auto}configuration_auto.py", f"{auto}auto_mappings.py"):
            self.model_types |= set(self._mapping(name, "CONFIG_MAPPING_NAMES"))
        tokens = self._text(f"{auto}tokenization_auto.py")
        self.tokenizers = set(re.findall(r'"(\w+(?:Tokenizer|TokenizerFast))"', tokens))
        self.tokenizers |= {"PreTrainedTokenizer", "PreTrainedTokenizerFast"}
        self.tokenizers |= {c for c in BACKENDS if c in self._text("transformers/__init__.py")}
        modeling = f"{auto}modeling_auto.py"
        self.classes = dict(self._classes())
        text = {kind for table in TEXT for kind in self._mapping(modeling, table)}
        # Architecture -> its task, its model type, and how vLLM may wrap it ("" if it may not).
        self.architectures: dict[str, tuple[str, str, str]] = {}
        for table, task in TASKS.items():
            for kind, name in self._mapping(modeling, table).items():
                guessed = task in {"embed", "classify", "token-classify"} and table not in SURE
                if not guessed or kind in text:
                    wraps = task not in {"transcribe", "token-classify", "image-classify"}
                    how = self._wrapped(name) if wraps else ""
                    self.architectures.setdefault(name, (task, kind, how))

    def _text(self, name: str) -> str:
        return self._archive.read(name).decode() if name in self._names else ""

    def _mapping(self, file: str, table: str) -> dict[str, str]:
        """Model type -> class name; of several class names the first."""
        found: dict[str, str] = {}
        for node in ast.walk(ast.parse(self._text(file))):
            targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
            if not any(isinstance(t, ast.Name) and t.id == table for t in targets):
                continue
            lists = [part for part in ast.walk(node.value) if isinstance(part, ast.List)]  # type: ignore[attr-defined]
            for pair in (pair for part in lists for pair in part.elts):
                if isinstance(pair, ast.Tuple) and len(pair.elts) == 2:
                    key, value = pair.elts
                    value = value.elts[0] if isinstance(value, ast.Tuple) else value
                    if isinstance(key, ast.Constant) and isinstance(value, ast.Constant):
                        found.setdefault(str(key.value), str(value.value))
        return found

    def _classes(self) -> Iterator[tuple[str, tuple[tuple[str, ...], bool | None, str]]]:
        """Every modeling class: bases, ``_supports_attention_backend``, what its module says."""
        for name in sorted(self._names):
            if not re.fullmatch(r"transformers/models/\w+/modeling_\w+\.py", name):
                continue
            text = self._text(name)
            how = "source" if settable(text) else ""
            how = "stateful" if STATEFUL.search(text) else how
            for node in ast.parse(text).body:
                if isinstance(node, ast.ClassDef):
                    bases = tuple(ast.unparse(base).rpartition(".")[2] for base in node.bases)
                    yield node.name, (bases, _flag(node), how)

    def _wrapped(self, name: str) -> str:
        """``flag`` or ``source`` by what vLLM would find, ``stateful``, or nothing."""
        seen: set[str] = set()
        own = self.classes[name][2] if name in self.classes else ""
        while own != "stateful" and name in self.classes and name not in seen:
            seen.add(name)
            bases, flag, _ = self.classes[name]
            if flag is not None:
                return "flag" if flag else own
            name = next((base for base in bases if base in self.classes), "")
        return own


def settable(text: str) -> bool:
    """What ``_can_set_attn_implementation`` concludes from a module's source."""
    return "ALL_ATTENTION_FUNCTIONS.get_interface(" in text or ATTENTION.search(text) is None


def _flag(node: ast.ClassDef) -> bool | None:
    for part in node.body:
        target = part.targets[0] if isinstance(part, ast.Assign) else getattr(part, "target", None)
        if isinstance(target, ast.Name) and target.id == "_supports_attention_backend":
            value = part.value  # type: ignore[attr-defined]
            return isinstance(value, ast.Constant) and value.value is True
    return None


def spans(releases: dict[str, set[str]]) -> dict[str, list[str]]:
    """Name -> the first release that has it, and the first that no longer has it (or "")."""
    order, found = list(releases), {}
    for name in sorted(set().union(*releases.values())):
        has = [version for version in order if name in releases[version]]
        after = order[order.index(has[-1]) + 1 :]
        found[name] = [has[0], after[0] if after else ""]
    return found


def write(
    vllm: dict[str, dict[str, object]], pins: dict[str, str], facts: dict[str, Release]
) -> None:
    """One line a row, so that two releases can be compared with diff."""
    newest: dict[str, tuple[str, str, str]] = {}
    for release in facts.values():
        newest.update(release.architectures)
    tables = {
        "vllm": vllm,
        "tensorrt-llm": pins,
        "model_types": spans({v: release.model_types for v, release in facts.items()}),
        "tokenizers": spans({v: release.tokenizers for v, release in facts.items()}),
        "architectures": {
            name: [task, kind, ways(facts, name)]
            for name, (task, kind, _) in sorted(newest.items())
        },
    }
    blocks = []
    for title, rows in tables.items():
        lines = [f"{json.dumps(key)}: {compact(value)}" for key, value in rows.items()]
        blocks.append(f"{json.dumps(title)}: {{\n" + ",\n".join(lines) + "\n}")
    text = f'{{"read": {compact(list(facts))},\n' + ",\n".join(blocks) + "\n}\n"
    json.loads(text)
    TABLE.write_text(text, encoding="utf-8")
    print({title: len(rows) for title, rows in tables.items()}, len(text), "bytes")


def ways(facts: dict[str, Release], name: str) -> dict[str, str]:
    """Since which release it may be wrapped, and how; the way of a release is the last given."""
    found: dict[str, str] = {}
    last = ""
    for version, release in facts.items():
        how = release.architectures.get(name, ("", "", ""))[2]
        if how != last:
            found[version] = last = how
    return found


def compact(value: object) -> str:
    """JSON on one line."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


if __name__ == "__main__":
    main()
