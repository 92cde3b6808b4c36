"""Rules that other packages bring, and what happens when they cannot be loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.command_line import trtbuild
from trtbuild import check
from trtbuild.check import Example, Severity, plugins, write_example
from trtbuild.check.engine import REGISTERED

RULE = """
from trtbuild.check.engine import Problem, rule

@rule("TRT199", "a model has a short name", fix="shorten it", bad='name: "long"', good='name: "m"')
def short(model):
    "Operators type it many times a day, so it must be short."
    if len(model.name) > 3:
        yield Problem(f"{model.name!r} has {len(model.name)} letters")
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Installs a distribution whose module ``naming`` is an entry point for rules."""
    site = tmp_path / "site"
    info = site / "naming-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: naming\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{plugins.ENTRY_POINT_GROUP}]\na-naming = naming\n")
    check.all_rules()
    before = dict(REGISTERED)
    monkeypatch.syspath_prepend(site)

    def write(source: str) -> None:
        (site / "naming.py").write_text(source)
        plugins.rule_plugins.cache_clear()

    yield write
    sys.modules.pop("naming", None)
    REGISTERED.clear()
    REGISTERED.update(before)
    plugins.rule_plugins.cache_clear()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    write_example(Example(), folder)
    (folder / "m").rename(folder / "mistral")
    config = folder / "mistral" / "config.pbtxt"
    config.write_text(config.read_text().replace('"m"', '"mistral"'))
    return folder


def test_a_plug_in_adds_a_rule(install: Callable[[str], None], repo: Path) -> None:
    install(RULE)
    done = trtbuild("validate", repo)
    assert done.returncode == 6
    assert "'mistral' has 7 letters" in done.stdout
    assert trtbuild("validate", repo, "--ignore", "TRT199").returncode == 0
    listed = trtbuild("rules", "TRT199").stdout
    assert "a model has a short name" in listed
    assert "about naming" in listed


def test_its_own_rules_come_first(install: Callable[[str], None]) -> None:
    """So a plug-in cannot take one of their ids, whatever its name."""
    install(RULE)
    names = [plugin.name for plugin in plugins.rule_plugins()]
    assert names.index("a-naming") == len(names) - 1
    assert names[:-1] == sorted(names[:-1])
    assert not [plugin for plugin in plugins.rule_plugins() if plugin.problem]


def test_without_its_own_rules_nothing_is_valid(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins.rule_plugins.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(plugins, "points", lambda group: [])
        done = trtbuild("validate", repo)
    plugins.rule_plugins.cache_clear()
    assert done.returncode == 2
    assert "its validation rules cannot be found" in done.stderr
    assert "install it again" in done.stderr


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (RULE + "\n1 / 0\n", "ZeroDivisionError: division by zero"),
        (RULE.replace("TRT199", "TRT101"), "ValueError: two rules have the id TRT101"),
        ("import a_module_that_is_missing", "ModuleNotFoundError: No module named 'a_m"),
    ],
)
def test_rules_that_cannot_be_loaded_are_a_warning(
    install: Callable[[str], None], repo: Path, source: str, reason: str
) -> None:
    known = dict(REGISTERED)
    install(source)
    found = check.validate(repo).findings
    assert [finding.severity for finding in found] == [Severity.WARNING]
    assert f"the rules of naming 1.0 cannot be loaded: {reason}" in found[0].message
    assert found[0].fix == "update or uninstall that package"
    assert known == REGISTERED, "none of its rules is left over"
    assert trtbuild("validate", repo).returncode == 0
