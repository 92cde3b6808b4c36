"""The rules about model repositories by subject: importing a module registers its rules.

The first digit of an id (``TRT…``) is the subject's: 1 schema, 2 layout, 3 config, 4 inputs and
outputs, 5 instance groups, 6 Python and ONNX, 7 engines and tokenizers, 8 weights, operations and
security, 9 lock; 95x are those of the live check, which are not here.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
