"""Helpers that handlers import."""

import inspect
import json
from pathlib import Path


class PredictionException(Exception):
    """An error with a status for the client."""

    def __init__(self, message, error_code=500):
        super().__init__(message)
        self.message = message
        self.error_code = error_code


def list_classes_from_module(module, parent_class=None):
    """Return the classes that a module defines, those below ``parent_class`` if it is given."""
    return [
        one
        for _, one in inspect.getmembers(module, inspect.isclass)
        if one.__module__ == module.__name__ and (not parent_class or issubclass(one, parent_class))
    ]


def load_label_mapping(mapping_file_path):
    """Return the names of the classes by number as text; None without a file."""
    path = Path(mapping_file_path)
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(found.get("object_type_names"), list):
        return {str(at): name for at, name in enumerate(found["object_type_names"])}
    return {key: one[-1] if isinstance(one, list) else one for key, one in found.items()}


def map_class_to_label(probs, mapping=None, lbl_classes=None):
    """Return probabilities by name of the class, for each row."""
    rows = lbl_classes if lbl_classes is not None else [range(len(row)) for row in probs]
    return [
        {(mapping[str(one)] if mapping else str(one)): value for one, value in zip(names, values)}  # noqa: B905
        for names, values in zip(rows, probs)  # noqa: B905
    ]
