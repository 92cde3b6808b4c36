"""Compare the tables of vLLM's arguments with the real ``create_engine_config``.

A maintainer's chore, without a GPU. It makes recipes out of a table: every bound and the value
beyond it, first and last choices and a word that is none, and an unknown key in every object. With
``--ask``, in a Python that has that vLLM, it prints what vLLM makes of each. The last compares:

    python scripts/compare_engine_args.py 0.32.0 > recipes.jsonl
    VLLM_PYTHON scripts/compare_engine_args.py --ask CHECKPOINT < recipes.jsonl > answers.jsonl
    python scripts/compare_engine_args.py 0.32.0 --answers answers.jsonl

What a table refuses and vLLM takes is an error of the table. What the table takes and vLLM refuses
is printed, to be read: there are settings that this machine cannot run, and checks in code.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trtbuild.toolchain import EngineArgument

Recipe = dict[str, Any]


def main() -> None:
    """Print recipes, answers or the comparison."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("version", nargs="?")
    parser.add_argument("--ask", metavar="CHECKPOINT")
    parser.add_argument("--answers", type=Path)
    options = parser.parse_args()
    if options.ask:
        ask(options.ask)
        return
    made = list(recipes(options.version))
    if options.answers is None:
        sys.stdout.writelines(json.dumps(one) + "\n" for one in made)
        return
    lines = options.answers.read_text(encoding="utf-8").splitlines()
    sys.exit(compare(options.version, made, [json.loads(line) for line in lines]))


def recipes(version: str) -> Iterator[Recipe]:
    """Settings at and beyond what a table allows, one at a time."""
    from trtbuild.toolchain import vllm_release

    table = vllm_release(version)
    for name, argument in table.arguments.items():
        yield from ({name: value} for value in values(argument))
    for path, group in table.groups.items():
        yield _inside(path, {})
        yield _inside(path, {"no_such_key": 1})
        for name, field in group.variants[""].items():
            yield from (_inside(path, {name: value}) for value in values(field))


def values(argument: EngineArgument) -> list[Any]:
    """Values at and beyond an argument's bounds, choices and types."""
    step = 0.001 if "float" in argument.types else 1
    bounds = (
        (argument.minimum, -step),
        (argument.above, step),
        (argument.maximum, step),
        (argument.below, -step),
    )
    kept = float if "float" in argument.types else int
    found: list[Any] = [
        kept(value) for bound, by in bounds if bound is not None for value in (bound, bound + by)
    ]
    if argument.choices:
        first = argument.choices[0]
        found += [first, argument.choices[-1]]
        found += [first.lower(), "banana"] if isinstance(first, str) else [99]
    elif argument.types in (("int",), ("bool",), ("list",), ("dict",)):
        found.append("x")
    return found if argument.nullable or "any" in argument.types else [*found, None]


def _inside(path: str, value: Recipe) -> Recipe:
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


def ask(checkpoint: str) -> None:
    """Print vLLM's answer to each recipe of the standard input: empty, or its error."""
    from vllm.engine.arg_utils import AsyncEngineArgs  # type: ignore[import-not-found]

    for line in sys.stdin:
        try:
            AsyncEngineArgs(model=checkpoint, **json.loads(line)).create_engine_config()
            said = ""
        except (Exception, SystemExit) as error:
            said = f"{type(error).__name__}: {error}"[:300]
        print(json.dumps(said), flush=True)


def compare(version: str, made: list[Recipe], answers: list[str]) -> int:
    """Print the differences; 1 when the table refuses what vLLM takes."""
    from trtbuild.recipe import argument_problems
    from trtbuild.toolchain import vllm_release

    table = vllm_release(version)
    strict, loose = [], []
    for recipe, answer in zip(made, answers, strict=True):
        problems = argument_problems(recipe, table)
        if problems and not answer:
            strict.append(f"vLLM takes {json.dumps(recipe)}, the table not: {problems[0]}")
        elif answer and not problems:
            loose.append(f"vLLM refuses {json.dumps(recipe)}: {answer}")
    print("\n".join((*strict, *loose)))
    agreed = len(made) - len(strict) - len(loose)
    print(f"{version}: {agreed} of {len(made)} agree, {len(strict)} refused by the table alone")
    return 1 if strict else 0


if __name__ == "__main__":
    main()
