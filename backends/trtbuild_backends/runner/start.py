"""Start the runner: ``python -I start.py SETTINGS``.

The package is loaded from here and not found on the path: whatever else lies beside it must not
become importable in the adapter's environment.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

NAME = "trtbuild_backends"


def _bring(folder: Path) -> None:
    found = importlib.util.spec_from_file_location(
        NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[NAME] = module
    found.loader.exec_module(module)


if __name__ == "__main__":
    _bring(Path(__file__).resolve().parents[1])
    from trtbuild_backends.runner.serving import main

    main(Path(sys.argv[1]))
