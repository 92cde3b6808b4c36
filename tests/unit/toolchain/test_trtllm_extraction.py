"""The maintainers' script that reads LLM() arguments out of TensorRT-LLM's sources."""

from __future__ import annotations

import html
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from support.paths import ROOT

SOURCE = '''
class Policy(StrEnum):
    FAST = "FAST"
    FAIR = "FAIR"

class Load(Enum):
    AUTO = 0
    DUMMY = 1

class Inner(StrictBaseModel):
    window: Optional[List[int]] = Field(default=None, description="a, b: c")

class Group(StrictBaseModel):
    """Fields of one kind."""
    policy: Policy = Field(default=Policy.FAST)
    inner: Optional[Inner] = None
    share: float = Field(default=0.9, gt=0, le=1)
    streams: Optional[PositiveInt] = None
    needed: int = Field(..., description="no default")
    plain: bool
    _private: int = PrivateAttr(default=1)

class Base(StrictBaseModel):
    model_dir: Optional[Union[str, Path]] = Field(
        default=None, validation_alias=AliasChoices("model_dir", "dir"))
    hidden: int = Field(default=1, init=False)
    @classmethod
    def from_dict(cls, data: dict):
        kind = data.get("kind")
        config_classes = {"One": One, "Two": Two}

class One(Base):
    kind: ClassVar[str] = "One"
    depth: int = 0

class Two(Base):
    def supports_backend(self, backend: str) -> bool:
        return backend not in ("pytorch", "_autodeploy")

Kinds: TypeAlias = Optional[Union[One, Two]]

class BaseLlmArgs(StrictBaseModel):
    model: Union[str, Path] = Field(description="x")
    mode: Literal['auto', 'slow'] = Field(default='auto')
    session: Optional[object] = Field(default=None, alias="_session")

class TorchLlmArgs(BaseLlmArgs):
    load: Union[str, Load] = Field(default=Load.AUTO)
    group: Group = Field(default_factory=Group)
    kinds: Kinds = Field(default=None)
    either: Optional[Union[object, str]] = None
    size: int | None = None
'''


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import add_trtllm_llm_args

    monkeypatch.setattr(add_trtllm_llm_args, "DATA", tmp_path / "data")
    return add_trtllm_llm_args


def extract(script: Any, tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    models = tmp_path / "models.md"
    models.write_text("| `LlamaForCausalLM` | Llama | `meta/llama` |\n")
    monkeypatch.setattr(sys, "argv", ["x", "9.9.9", str(path), "--models", str(models)])
    script.main()
    return json.loads((tmp_path / "data" / "9.9.9.json").read_text())


def test_arguments_groups_and_kinds(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "llm_args.py"
    path.write_text(SOURCE)
    table = extract(script, tmp_path, path, monkeypatch)
    assert table["architectures"] == ["LlamaForCausalLM", "Qwen2MoeForCausalLM"]
    assert table["arguments"] == {
        "model": {"types": ["str"], "required": True},
        "mode": {"types": ["str"], "default": "auto", "choices": ["auto", "slow"]},
        "load": {"types": ["str"]},
        "group": {"types": ["dict"]},
        "kinds": {"types": ["dict"], "null": True, "default": None},
        "either": {"types": ["any"], "null": True, "default": None},
        "size": {"types": ["int"], "null": True, "default": None},
    }
    assert table["groups"]["group"]["variants"][""] == {
        "policy": {"types": ["str"], "choices": ["FAST", "FAIR"]},
        "inner": {"types": ["dict"], "null": True, "default": None},
        "share": {"types": ["float"], "default": 0.9, "above": 0, "max": 1},
        "streams": {"types": ["int"], "null": True, "default": None, "above": 0},
        "needed": {"types": ["int"], "required": True},
        "plain": {"types": ["bool"], "required": True},
    }
    assert "group.inner" in table["groups"]
    kinds = table["groups"]["kinds"]
    assert kinds["selector"] == "kind"
    assert {name: list(fields) for name, fields in kinds["variants"].items()} == {
        "One": ["model_dir", "dir", "depth"]
    }, "what the PyTorch backend does not run is left out; both names of a field are taken"


def test_a_documentation_page_is_the_same_source(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "llm_args.py"
    path.write_text(SOURCE)
    expected = extract(script, tmp_path, path, monkeypatch)
    marked = html.escape(SOURCE).replace("class Group", '<span class="k">class</span> Group')
    link = '<a class="viewcode-back" href="#x">[docs]</a>\n'
    page = tmp_path / "llm_args.html"
    page.write_text(f'<p>x</p><div class="highlight"><pre>{link}{marked}</pre></div>')
    assert extract(script, tmp_path, page, monkeypatch) == expected
