"""What the model's config.pbtxt, its engine and the rehearsal's file say."""

import json
import os
import re
from pathlib import Path

# Where a repository is mounted inside a container: /models/<name>/<version>/<rest>
_MOUNTED = re.compile(r"^/models/(?P<name>[^/]+)/(?P<version>[0-9]+)(?:/(?P<rest>.+))?$")
# The values that the C++ backend knows; it throws at any other.
_MODEL_TYPES = ("inflight_fused_batching", "inflight_batching", "V1", "v1")
# Sequences of one step at most: an engine for a GPU takes more than a CPU's KV cache holds.
_MOST_SEQUENCES = 64


class SettingsError(Exception):
    """A model that the real backend would not load either, or that cannot be rehearsed."""


class Settings:
    """One model's settings; ``arguments`` are vLLM's engine arguments."""

    def __init__(self, name, version_dir, config):
        self._parameters = config.get("parameters", {})
        kind = self._text("gpt_model_type")
        if kind not in _MODEL_TYPES:
            raise SettingsError(f"gpt_model_type is {kind!r}, must be one of {_MODEL_TYPES}")
        if "tokenizer_dir" not in self._parameters:
            raise SettingsError("the key tokenizer_dir is missing: the real backend would crash")
        self.decoupled = config.get("model_transaction_policy", {}).get("decoupled", False)
        self.max_beam_width = int(self._text("max_beam_width") or 1)
        # As the C++: anything but these words leaves the default, which is to repeat the prompt.
        self.exclude_input = self._text("exclude_input_in_output") in ("True", "true", "TRUE", "1")
        build = self._engine(version_dir).get("build_config", {})
        self.max_input_len = build.get("max_input_len")
        self.max_seq_len = build.get("max_seq_len")
        self.max_beam_width = min(self.max_beam_width, build.get("max_beam_width", 1))
        plan = json.loads(Path(os.environ["TRTBUILD_REHEARSAL"]).read_text(encoding="utf-8"))
        if name not in plan["models"]:
            raise SettingsError(f"the rehearsal's file names no checkpoint for {name}")
        batch = min(build.get("max_batch_size") or _MOST_SEQUENCES, _MOST_SEQUENCES)
        self.arguments = {"max_num_seqs": batch, "skip_tokenizer_init": True}
        if self.max_seq_len:
            self.arguments["max_model_len"] = self.max_seq_len
        self.arguments.update(plan["engine"])
        self.arguments["model"] = plan["models"][name]["checkpoint"]

    def _text(self, name):
        return self._parameters.get(name, {}).get("string_value", "")

    def _engine(self, version_dir):
        """The engine's config.json, built or predicted."""
        named = self._text("gpt_model_path")
        if not named:
            raise SettingsError("gpt_model_path is missing: where the engine lies")
        folder = Path(named)
        mounted = _MOUNTED.match(named)
        if mounted and not folder.is_dir():
            root = Path(version_dir).parent.parent
            folder = root / mounted["name"] / mounted["version"] / (mounted["rest"] or "")
        path = folder / "config.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SettingsError(f"{path}, the engine's config.json: {error}") from None
