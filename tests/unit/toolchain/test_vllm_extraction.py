"""The maintainer's script reads types, defaults and choices out of a wheel, without importing."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from support.paths import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

import add_vllm_engine_args as script
from wheel_types import Sources

ARG_UTILS = """
import torch  # never imported: this machine may not have it
from typing import Any, Literal, Optional, Union, get_args, TYPE_CHECKING
from vllm.config import Backend, Closed, Config, Kind, Level, Open, get_field
from vllm.config.types import Dtype as DtypeName

if TYPE_CHECKING:
    Methods = Literal["fp8", "awq"]
else:
    Methods = str

@dataclass
class EngineArgs:
    model: str
    flag: bool = False
    length: Optional[int] = None
    share: float = Config.share
    dtype: DtypeName = "auto"
    wide: Union[Literal["x"], DtypeName, None] = None
    names: Optional[Union[str, list[str]]] = None
    nested: Config = get_field(Config, "nested")
    kind: Kind = Kind.A
    level: Level = Level.TWO
    executor: type[Any] | None = None
    methods: "Methods | None" = None
    folder: Optional[str] = None
    backend: Backend | None = None
    sequences: Optional[int] = None
    closed: Closed = get_field(Config, "closed")
    plain: Open = get_field(Config, "closed")
    _hidden: int = 1

    def create_engine_config(self):
        return Config(backend=self.backend, seqs=self.sequences, share=self.share)

    @staticmethod
    def add_cli_args(parser):
        parser.add_argument("--folder", choices=["a", "b"])
        parser.add_argument("--length", choices=list(range(3)))

@dataclass
class AsyncEngineArgs(EngineArgs):
    log: bool = False
"""
FILES = {
    "vllm/engine/arg_utils.py": ARG_UTILS,
    "vllm/config/__init__.py": (
        "from .base import Backend, Closed, Config, Kind, Level, Open, get_field\n"
    ),
    "vllm/config/types.py": 'Inner = Literal["auto", "half"]\nDtype = Literal[Inner, "float"]\n',
    "vllm/config/base.py": (
        "class Kind(str, Enum):\n    A = 'a'\n"
        "class Level(IntEnum):\n    TWO = 2\n"
        "class Backend(Enum):\n    FLASH = 'a.b.Flash'\n    SDPA = ''\n"
        "def config(cls):\n    return dataclass(cls, config=ConfigDict(extra='forbid'))\n"
        "@config\nclass Inner:\n    size: int = Field(default=1, ge=1)\n"
        "@config\nclass Closed:\n    inner: Inner = field(default_factory=Inner)\n"
        "    mode: Literal['x', 'y'] | None = None\n    made: int = field(init=False)\n"
        "    _private: int = 0\n    any_name: Backend = Backend.SDPA\n"
        "@dataclass\nclass Open:\n    size: int = 1\n"
        "class Config:\n    share: float = Field(default=0.5, gt=0, le=1)\n"
        "    nested: dict = field(default_factory=dict)\n"
        "    seqs: int = Field(default=8, ge=1)\n    backend: Backend | None = None\n"
        "    @field_validator('backend', mode='before')\n    def parse(cls, value):\n"
        "        if value.lower() == 'auto':\n            return None\n"
        "        return Backend[value.upper()]\n"
    ),
    "vllm/model_executor/models/registry.py": (
        '_TEXT_GENERATION_MODELS = {"LlamaForCausalLM": ("llama", "L")}\n'
        '_EMBEDDING_MODELS = {"BertModel": ("bert", "B"), **{k: v for k, v in x.items()}}\n'
        '_SPECULATIVE_DECODING_MODELS = {"EagleModel": ("e", "E")}\n'
    ),
    "vllm/model_executor/layers/quantization/__init__.py": (
        'QuantizationMethods = Literal["fp8", "awq"]\n'
    ),
    "vllm/model_executor/layers/quantization/fp8.py": (
        "class Fp8Config:\n"
        "    @classmethod\n    def get_name(cls): return 'fp8'\n"
        "    @classmethod\n    def get_min_capability(cls): return 80\n"
        "class Other:\n"
        "    @classmethod\n    def get_name(cls): return 'other'\n"
        "    @classmethod\n    def get_min_capability(cls):\n"
        "        if x:\n            return 1\n        return 2\n"
    ),
}


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    path = tmp_path / "vllm.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    return Sources(zipfile.ZipFile(path))


def test_arguments(sources: Sources) -> None:
    found = script.engine_arguments(sources)
    assert found == {
        "model": {"types": ["str"]},
        "flag": {"types": ["bool"], "default": False},
        "length": {"types": ["int"], "null": True, "default": None},
        "share": {"types": ["float"], "default": 0.5, "above": 0, "max": 1},
        "dtype": {"types": ["str"], "default": "auto", "choices": ["auto", "float", "half"]},
        "wide": {
            "types": ["str"],
            "null": True,
            "default": None,
            "choices": ["auto", "float", "half", "x"],
        },
        "names": {"types": ["list", "str"], "null": True, "default": None},
        "nested": {"types": ["dict"]},
        "kind": {"types": ["str"]},
        "level": {"types": ["int"], "choices": [2]},
        "executor": {"types": ["any"], "null": True, "default": None},
        "methods": {"types": ["str"], "null": True, "default": None, "choices": ["awq", "fp8"]},
        "backend": {
            "types": ["str"],
            "null": True,
            "default": None,
            "choices": ["FLASH", "SDPA", "auto"],
            "fold": True,
        },
        "sequences": {"types": ["int"], "null": True, "default": None, "min": 1},
        "closed": {"types": ["dict"]},
        "plain": {"types": ["dict"]},
        "folder": {"types": ["str"], "null": True, "default": None, "choices": ["a", "b"]},
        "log": {"types": ["bool"], "default": False},
    }


def test_objects_that_refuse_unknown_keys(sources: Sources) -> None:
    """Their fields, with those of objects within; what takes any key is left out."""
    assert script.engine_objects(sources) == {
        "closed": {
            "inner": {"types": ["dict"]},
            "mode": {"types": ["str"], "null": True, "choices": ["x", "y"]},
            "any_name": {"types": ["any"]},
        },
        "closed.inner": {"size": {"types": ["int"], "min": 1}},
    }


def test_architectures_that_serve_by_themselves(sources: Sources) -> None:
    assert script.architectures(sources) == {
        "generate": {"LlamaForCausalLM"},
        "embed": {"BertModel"},
    }


def test_quantization(sources: Sources) -> None:
    assert script.quantization_methods(sources) == {"fp8", "awq"}
    assert script.min_capabilities(sources) == {"fp8": 80}
