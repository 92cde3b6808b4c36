"""What ships is what is in the checkout: nothing missing, nothing extra, and it runs."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from support.paths import ROOT, WHEEL_ROOTS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return folder


def shipped(root: Path, prefix: str = "") -> set[str]:
    return {
        prefix + str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_exactly_the_sources(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    expected = shipped(ROOT / "templates", "trtbuild/_templates/").union(
        *(shipped(ROOT / root) for root in WHEEL_ROOTS)
    )
    assert names == expected


def test_the_image_is_built_from_everything_that_the_wheel_holds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    dockerfile = (ROOT / "Dockerfile").read_text()
    for path in included:
        top = path.partition("/")[0]
        assert f"COPY {top} ./{top}\n" in dockerfile


def test_the_sdist_can_make_the_wheel(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md"} <= names
    for root in WHEEL_ROOTS:
        assert shipped(ROOT / root, f"{root}/") <= names


def test_the_wheel_runs_away_from_the_checkout(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "from trtbuild import resources, builder; "
        "assert resources.template_dir().name == '_templates', resources.template_dir(); "
        "print([found.name for found in builder.discover() if found.builder])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "'vllm'" in result.stdout


@pytest.mark.parametrize("folder", ["gateway", "backends"])
def test_the_other_wheels_hold_exactly_their_sources(tmp_path: Path, folder: str) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir"]
    subprocess.run([*command, tmp_path, ROOT / folder], check=True, capture_output=True)
    (wheel,) = tmp_path.glob(f"trtbuild_{folder}-*.whl")
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    assert names == shipped(ROOT / folder / f"trtbuild_{folder}", f"trtbuild_{folder}/")


def test_all_distributions_have_one_version() -> None:
    projects = [*ROOT.glob("*/pyproject.toml"), *ROOT.glob("adapters/*/pyproject.toml")]
    versions = {
        tomllib.loads(path.read_text())["project"]["version"]
        for path in (ROOT / "pyproject.toml", *projects)
    }
    assert len(versions) == 1
