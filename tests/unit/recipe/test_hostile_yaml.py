"""Recipes that take all memory or all of the stack: an error with a fix."""

from __future__ import annotations

import pytest

from trtbuild.errors import RecipeError
from trtbuild.located import yamltext
from trtbuild.recipe.loading import parse
from trtbuild_rules.readers.yamlfiles import read_yaml

_LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 5000, "nested too deeply"),
        ("a: &a [*a]", "nested too deeply"),
        ("a: &a {b: *a}", "nested too deeply"),
        (_LAUGHS, "expand to more than 100,000 values"),
    ],
)
def test_a_recipe_without_end_is_refused(text: str, reason: str) -> None:
    with pytest.raises(RecipeError, match="is not YAML") as error:
        parse(text)
    assert reason in error.value.what
    assert error.value.fix


@pytest.mark.parametrize("value", ["!!timestamp x", "!!bool maybe", "!!int x", "!!binary x"])
def test_a_value_that_is_not_what_its_tag_says_is_refused(value: str) -> None:
    with pytest.raises(RecipeError):
        parse(f"models: [{{source: {value}}}]")
    assert read_yaml(f"model: {value}".encode(), "model.yaml").problem


def test_aliases_may_be_used() -> None:
    node = yamltext.compose("a: &a [1, 2]\nb: [*a, *a]")
    assert node is not None
    assert yamltext.construct(node) == {"a": [1, 2], "b": [[1, 2], [1, 2]]}
    assert yamltext.scalar("") is None
