"""The rules about model repositories, found through the entry-point group ``trtbuild.rules.v1``.

Each package of rules is an entry point, and each of its modules is a subject. The first digit of
an id (``TRT…``) is the subject's: 1 schema, 2 layout, 3 config, 4 inputs and outputs, 5 instance
groups, 6 Python and ONNX, 7 engines and tokenizers, 8 weights, operations and security, 9 lock; 95x
are those of the live check, which are not here.
"""

from collections.abc import Iterable
from importlib import import_module
from pkgutil import iter_modules


def import_all(package: str, path: Iterable[str]) -> None:
    """Import every module of a package of rules, which registers them."""
    for module in iter_modules(path):
        import_module(f"{package}.{module.name}")
