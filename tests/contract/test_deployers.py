"""The contract of every deployment target, found by itself."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path, PurePosixPath

import pytest

from support.deployments import deployable
from trtbuild import plugins
from trtbuild.errors import UsageError
from trtbuild_deploy.facts import read_facts
from trtbuild_deploy.settings import Settings
from trtbuild_deploy.target import ENTRY_POINT_GROUP, find_target, target_names


@pytest.mark.parametrize("name", target_names())
def test_a_target_is_pure_and_names_no_path_of_this_machine(tmp_path: Path, name: str) -> None:
    target = find_target(name)
    assert target.name == name
    assert target.summary.endswith(".")
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    first, second = (read_facts(deployable(tmp_path / one)) for one in ("one", "two"))
    if target.reasons_against(first, Settings()):
        return
    rendered = target.render(first, Settings())
    assert rendered == target.render(second, Settings())
    for file in rendered.files:
        path = PurePosixPath(file.path)
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert str(tmp_path).encode() not in file.content
    assert len({file.path for file in rendered.files}) == len(rendered.files)


@pytest.mark.parametrize(
    ("value", "said"),
    [("no.such.module:target", "ModuleNotFoundError"), ("json:dumps", "has no name, summary")],
)
def test_a_broken_target_says_so(monkeypatch: pytest.MonkeyPatch, value: str, said: str) -> None:
    point = EntryPoint("broken", value, ENTRY_POINT_GROUP)
    monkeypatch.setattr(plugins, "points", lambda _: [point])
    with pytest.raises(UsageError, match=said) as caught:
        find_target("broken")
    assert caught.value.fix
