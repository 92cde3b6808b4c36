"""Find a handler's entry point as TorchServe does: a function, or the only class of a module."""

import importlib

from ts.utils.util import list_classes_from_module


def entry_point(handler, function):
    """Return the function that answers a batch, and the one that loads the model."""
    module = importlib.import_module(handler)
    name = function or "handle"
    if hasattr(module, name):
        handle = getattr(module, name)
        return handle, lambda context: handle(None, context)
    classes = list_classes_from_module(module)
    if len(classes) != 1:
        raise ValueError(f"{handler} has {len(classes)} classes, not one, and no function {name}")
    service = classes[0]()
    return service.handle, service.initialize
