"""What releases read checkpoints with: the table, and the script that reads it out of wheels."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest

from support.paths import ROOT
from trtbuild import toolchain
from trtbuild.toolchain import Reading, trtllm_reading, vllm_reading

sys.path.insert(0, str(ROOT / "scripts"))

import add_transformers as script

AUTO = "transformers/models/auto/"
MODELING = """
MODEL_MAPPING_NAMES = OrderedDict([("new", "NewModel"), ("eyes", "EyesModel")])
MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = OrderedDict(
    [("new", "NewForCausalLM"), ("flow", "FlowForCausalLM"), ("old", "OldForCausalLM"),
     ("plain", "PlainForCausalLM")]
)
MODEL_FOR_MASKED_LM_MAPPING_NAMES = OrderedDict([])
MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES = OrderedDict([("ear", ("EarForIt", "EarOther"))])
MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES = OrderedDict(
    [("new", "NewForTokens"), ("ear", "EarForTokens")]
)
MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES = OrderedDict([("eye", "EyeForIt")])
MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES = OrderedDict([("wide", "WideEncoderModel")])
"""
NEW = """
class NewAttention(nn.Module):
    def forward(self):
        return ALL_ATTENTION_FUNCTIONS.get_interface("eager")
class NewPreTrainedModel(PreTrainedModel):
    _supports_attention_backend = True
class NewModel(NewPreTrainedModel): ...
class NewForCausalLM(NewPreTrainedModel, GenerationMixin): ...
"""
FILES = {
    f"{AUTO}configuration_auto.py": 'CONFIG_MAPPING_NAMES = OrderedDict([("new", "NewConfig")])',
    f"{AUTO}auto_mappings.py": 'CONFIG_MAPPING_NAMES = OrderedDict([("late", "LateConfig")])',
    f"{AUTO}tokenization_auto.py": 'X = [("new", ("NewTokenizer", "NewTokenizerFast"))]',
    f"{AUTO}modeling_auto.py": MODELING,
    "transformers/__init__.py": "from .tok import TokenizersBackend",
    "transformers/models/new/modeling_new.py": NEW,
    "transformers/models/flow/modeling_flow.py": NEW.replace("New", "Flow") + "conv_state = 1\n",
    "transformers/models/old/modeling_old.py": (
        "class OldAttention(nn.Module): ...\nclass OldForCausalLM(PreTrainedModel): ...\n"
    ),
    "transformers/models/plain/modeling_plain.py": (
        NEW.replace("New", "Plain").replace("= True", "= False")
    ),
}


def wheel(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_a_transformers_wheel(tmp_path: Path) -> None:
    archive = zipfile.ZipFile(wheel(tmp_path / "transformers-9.9.9-any.whl", FILES))
    read = script.Release("9.9.9", archive)
    assert read.model_types == {"new", "late"}
    assert {"NewTokenizer", "NewTokenizerFast", "TokenizersBackend"} <= read.tokenizers
    assert "SentencePieceBackend" not in read.tokenizers
    assert read.architectures == {
        "NewForCausalLM": ("generate", "new", "flag"),
        "FlowForCausalLM": ("generate", "flow", "stateful"),
        "OldForCausalLM": ("generate", "old", ""),
        "PlainForCausalLM": ("generate", "plain", "source"),
        "EarForIt": ("transcribe", "ear", ""),
        "NewForTokens": ("token-classify", "new", ""),  # not EarForTokens, which reads no text
        "EyeForIt": ("image-classify", "eye", ""),
        "WideEncoderModel": ("embed", "wide", ""),
        "NewModel": ("embed", "new", "flag"),
    }


def test_a_vllm_wheel(tmp_path: Path) -> None:
    wheel(
        tmp_path / "vllm-9.9.9-any.whl",
        {
            "vllm-9.9.9.dist-info/METADATA": "Requires-Dist: transformers <6,>=5.1.2\n",
            "vllm/transformers_utils/config.py": (
                '_CONFIG_REGISTRY: dict = Lazy(own="OwnConfig", **{"odd-name": "OddConfig"})\n'
                "x = get_config_dict()\n"
            ),
            "vllm/model_executor/models/registry.py": (
                '_X = {"TransformersForCausalLM": ("transformers", "TransformersForCausalLM")}\n'
            ),
        },
    )
    assert script.vllm_facts("9.9.9", tmp_path) == {
        "requires": "transformers<6,>=5.1.2",
        "transformers": "5.1.2",
        "asks": ["flag"],
        "own_types": ["odd-name", "own"],
        "wrappers": ["TransformersForCausalLM"],
    }


def test_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "TABLE", tmp_path / "transformers.json")
    old = wheel(tmp_path / "a.whl", FILES | {f"{AUTO}modeling_auto.py": "X = 1"})
    new = wheel(tmp_path / "b.whl", FILES | {f"{AUTO}auto_mappings.py": "X = 1"})
    releases = {
        version: script.Release(version, zipfile.ZipFile(path))
        for version, path in (("4.0.0", old), ("5.0.0", new))
    }
    script.write({}, {"1.2.1": "4.57.1"}, releases)
    table = json.loads((tmp_path / "transformers.json").read_text())
    assert table["tensorrt-llm"] == {"1.2.1": "4.57.1"}
    assert table["model_types"] == {"late": ["4.0.0", "5.0.0"], "new": ["4.0.0", ""]}
    assert table["architectures"]["NewForCausalLM"] == ["generate", "new", {"5.0.0": "flag"}]


def test_every_release_has_a_row() -> None:
    for row in toolchain.releases():
        if row.vllm:
            assert vllm_reading(row.vllm).transformers
        if row.trtllm:
            assert trtllm_reading(row.trtllm).maybe_four


@pytest.mark.parametrize(
    ("version", "four", "surely"),
    [
        ("0.10.2", True, True),
        ("0.19.0", True, True),  # transformers<5
        ("0.22.1", True, False),  # 4.56 or newer, 5 too
        ("0.24.0", False, False),
        ("0.32.0", False, False),
    ],
)
def test_which_transformers(version: str, four: bool, surely: bool) -> None:
    reading = vllm_reading(version)
    assert (reading.maybe_four, reading.surely_four) == (four, surely)


def test_what_a_release_knows() -> None:
    new, old = vllm_reading("0.24.0"), vllm_reading("0.10.2")
    assert new.knows_type("minimax_m2")
    assert not old.knows_type("minimax_m2")
    assert old.knows_type("kimi_vl")  # a class of its own
    assert new.knows_tokenizer("LlamaTokenizerFast")
    assert not new.knows_tokenizer("TikTokenTokenizer")
    assert not old.knows_tokenizer("TokenizersBackend")
    assert new.wrapper("HeliumForCausalLM", "generate") == "TransformersForCausalLM"
    assert new.wrapper("HeliumForCausalLM", "rerank") == ""
    assert new.failure("BambaForCausalLM")
    assert new.failure("HeliumForCausalLM") == ""


def test_a_release_asks_in_its_own_way() -> None:
    by_source = Reading("x", "5.19.0", wrappers=frozenset({"TransformersForCausalLM"}),
                        asks=frozenset({"flag", "source"}))  # fmt: skip
    by_flag = Reading("x", "5.19.0", wrappers=by_source.wrappers, asks=frozenset({"flag"}))
    assert by_source.wrapper("MarianForCausalLM", "generate")
    assert not by_flag.wrapper("MarianForCausalLM", "generate")
