"""Parts of our adapters that need no engine."""

from __future__ import annotations

import ast
import sys

import pytest

from support.paths import ROOT
from support.tokenizers_made import byte_level
from trtbuild_transformers_adapter.texts import Texts

ADAPTERS = sorted(path.parent for path in (ROOT / "adapters").glob("*/pyproject.toml"))


class Decoder:
    """transformers' interface of a tokenizer."""

    def __init__(self) -> None:
        self._tokenizer = byte_level()

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text).ids)

    def decode(self, tokens: list[int], *, skip_special_tokens: bool) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens))


@pytest.mark.parametrize(
    ("stop", "wanted"),
    [
        ((), "naïve 日本 🙂 text"),
        (("本",), "naïve 日"),
        ((" t", "x"), "naïve 日本 🙂"),
        (("zz",), None),
    ],
)
def test_text_comes_in_whole_characters_up_to_a_stop(
    stop: tuple[str, ...], wanted: str | None
) -> None:
    text = "naïve 日本 🙂 text"
    decoder = Decoder()
    texts, pieces = Texts(decoder, stop), []
    for token in decoder.encode(text):
        pieces.append(texts.add(token))
        if texts.stopped:
            break
    else:
        pieces.append(texts.end())
    assert "".join(pieces) == (text if wanted is None else wanted)
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("folder", ADAPTERS, ids=lambda folder: folder.name)
def test_an_adapter_needs_only_the_workers_own_module(folder: object) -> None:
    """It runs where nothing of trtbuild is installed, and says of itself what it runs."""
    assert (folder / "README.md").is_file()  # type: ignore[operator]
    (package,) = folder.glob("*/adapter.toml")  # type: ignore[attr-defined]
    own = {one.parent.name for one in (ROOT / "adapters").glob("*/*/adapter.toml")}
    for source in package.parent.glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                top = name.partition(".")[0]
                assert (
                    name == "trtbuild_backends.backend"
                    or not top.startswith("trtbuild")
                    or top in own
                )
    for node in ast.parse((package.parent / "backend.py").read_text()).body:  # loads nothing early
        if isinstance(node, ast.ImportFrom):
            top = (node.module or "").partition(".")[0]
            assert top.startswith("trtbuild") or top in sys.stdlib_module_names
