"""Packages that a served model needs and Triton's image lacks; they lie in the repository."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

_KEPT = (".py", ".so")


def tokenizers(target):
    """Copy the package; its compiled part serves every Python."""
    import tokenizers

    _copy(Path(tokenizers.__file__).parent, target)


def pillow(target, pythons):
    """Copy Pillow, whose compiled parts for several versions of Python lie side by side."""
    import PIL

    home = Path(PIL.__file__).parent
    for folder in (home, home.with_name("pillow.libs")):
        _copy(folder, target)
    here = "{}.{}".format(*sys.version_info)
    for python in pythons:
        if python != here:
            _fetch(f"pillow=={PIL.__version__}", python, target)


def _copy(home, target):
    _place({path.relative_to(home.parent): path for path in home.rglob("*")}, target)


def _fetch(package, python, target):
    """The same release for another Python, from the package index."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-I", "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary", ":all:", "--python-version", python, "--dest", folder, package]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines()[-1:] or ["pip failed"]
            sys.exit(
                f"ERROR: {package} for Python {python}, with which the served model reads images, "
                f"could not be fetched ({said[0].strip()}): check the network or PIP_INDEX_URL, or "
                "use --backend torch"
            )
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(Path(folder) / "wheel")
        for home in (Path(folder) / "wheel").iterdir():
            if not home.name.endswith(".dist-info"):
                _copy(home, target)


def _place(files, target):
    for name, path in sorted(files.items()):
        if path.is_file() and (path.suffix in _KEPT or ".so." in path.name):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / name)
