"""Write what transformers' configuration classes mean by keys that a config.json leaves out.

A maintainer's chore, run once the embedded runtime (``trtbuild runtime install``) has a newer
transformers:

    python scripts/add_config_defaults.py

Only keys that the package reads for sizes are kept (``SIZES`` of ``checkpoint/families.py``), and
only families of known architectures. ``layer_period`` is what the kinds of layers repeat when the
configuration does not list them.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from trtbuild.checkpoint import families
from trtbuild.server import runtime

TABLE = Path(__file__).parents[1] / "src/trtbuild/data/config_defaults.json"
# Run through transformers, by configurations that leave keys out.
WRAPPED = ("YoutuForCausalLM",)

# Runs in the runtime's Python: the keys and the architectures come in, the table goes out.
ASK = """
import inspect, json, sys
import transformers
from transformers.models.auto import modeling_auto as auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

asked = json.load(sys.stdin)

def described(config):
    yield config
    for value in config.values():
        if isinstance(value, dict) and value.get("model_type") and "num_hidden_layers" in value:
            yield value

def declared(family, key, value):
    # A value that the class works out from others (head_dim) is not a default.
    cls = CONFIG_MAPPING[family]
    signature = inspect.signature(cls.__init__).parameters
    default = getattr(cls, key, None)
    if key in signature and signature[key].default is not inspect.Parameter.empty:
        default = signature[key].default
    return isinstance(value, (bool, int, float, str)) and default == value

def period(words):
    # The shortest list that makes all of it by repetition, at least twice.
    for length in range(2, len(words or ()) // 2 + 1):
        if all(word == words[at % length] for at, word in enumerate(words)):
            return words[:length] if len(set(words)) > 1 else None
    return None

named = {}
for mapping in (
    auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    auto.MODEL_MAPPING_NAMES,
):
    for family, architecture in mapping.items():
        if isinstance(architecture, str) and architecture.lower() in asked["architectures"]:
            named[family] = None
found = {}
for family in named:
    for config in described(CONFIG_MAPPING[family]().to_dict()):
        kind = config["model_type"]
        if kind in CONFIG_MAPPING:
            kept = {k: config[k] for k in asked["keys"] if declared(kind, k, config.get(k))}
            words = period(config.get("layer_types") or config.get("layers_block_type"))
            found.setdefault(kind, kept | ({"layer_period": words} if words else {}))
print(json.dumps({"source": f"transformers {transformers.__version__}", "families": found}))
"""


def main() -> None:
    """Write the table."""
    # vLLM spells some differently than transformers (PhiMoEForCausalLM).
    named = {name.lower() for name in (*families.architectures(), *WRAPPED)}
    asked = {"architectures": sorted(named), "keys": [*dict.fromkeys(families.SIZES)]}
    command = [str(runtime.ensure().python), "-c", ASK]
    done = subprocess.run(
        command, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True
    )
    table = json.loads(done.stdout.splitlines()[-1])
    found = table["families"]
    body = ",\n".join(f"  {json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found))
    text = f'{{"source": {json.dumps(table["source"])}, "families": {{\n{body}\n}}}}\n'
    TABLE.write_text(text, encoding="utf-8")
    print(f"{len(found)} families of {table['source']} in {TABLE.name}")


if __name__ == "__main__":
    main()
