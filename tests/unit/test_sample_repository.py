"""The committed sample is what this version writes, and it passes its own check."""

from __future__ import annotations

import filecmp
import shutil
from pathlib import Path

from support.paths import ROOT
from trtbuild import check
from trtbuild.pipeline.convert import convert
from trtbuild.recipe import ModelRecipe

SAMPLE = ROOT / "examples" / "model_repository"


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_the_sample_has_not_drifted(tmp_path: Path) -> None:
    source = tmp_path / "tiny-llama"
    shutil.copytree(SAMPLE / "tiny-llama" / "1" / "weights", source)
    recipe = ModelRecipe(source=str(source), engine={"max_model_len": 128})
    convert(recipe, repository=tmp_path / "again", triton="26.07")
    assert files(tmp_path / "again") == files(SAMPLE)
    _, changed, missing = filecmp.cmpfiles(SAMPLE, tmp_path / "again", files(SAMPLE), shallow=False)
    assert (changed, missing) == ([], []), "convert it again and commit the result"


def test_the_sample_is_valid() -> None:
    report = check.validate(SAMPLE)
    assert (report.ok, report.findings) == (True, ())
