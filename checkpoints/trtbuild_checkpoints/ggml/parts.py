"""Models split over several GGUF files (``llama-gguf-split``), opened as one model.

Every part has ``split.no``, ``split.count`` and ``split.tensors.count``, and some of the tensors;
the first has the metadata of the model. Names end in ``-00001-of-00003.gguf``.
"""

from __future__ import annotations

import re
from pathlib import Path

from trtbuild.errors import UnsupportedError
from trtbuild_checkpoints.ggml.file import GgufFile, GgufTensor, open_gguf

_PART = re.compile(r"^(?P<base>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$", re.IGNORECASE)


def open_model(path: Path) -> GgufFile:
    """Open ``path``, and the other parts if the model is split.

    Raises:
        UsageError: A file cannot be read.
        UnsupportedError: A part is missing or belongs to another model; also as
            :func:`open_gguf`.
    """
    file = open_gguf(path, path.name)
    count = file.metadata.get("split.count", 1)
    if type(count) is not int or count <= 1:
        return file
    names = _names(path, count)
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" * (len(missing) > 3))
        number = file.metadata.get("split.no", 0) + 1
        raise UnsupportedError(
            f"{path.name} is part {number} of {count}, and {shown} is not beside it",
            where=path.name,
            fix="put all parts into one directory, then name any of them",
        )
    parts = [file if name == path.name else open_gguf(path.parent / name, name) for name in names]
    return _joined(parts, count)


def _names(path: Path, count: int) -> list[str]:
    found = _PART.match(path.name)
    if found is None or int(found["count"]) != count:
        raise UnsupportedError(
            f"{path.name} is one of {count} parts, and its name does not identify the others",
            where=path.name,
            fix=f"give the parts their names back (…-00001-of-{count:05}.gguf), or merge them: "
            "llama-gguf-split --merge FIRST.gguf WHOLE.gguf",
        )
    return [f"{found['base']}-{n:05}-of-{count:05}.gguf" for n in range(1, count + 1)]


def _joined(parts: list[GgufFile], count: int) -> GgufFile:
    tensors: dict[str, GgufTensor] = {}
    for number, part in enumerate(parts):
        said = (part.metadata.get("split.no"), part.metadata.get("split.count"))
        if said != (number, count) or tensors.keys() & part.tensors.keys():
            raise UnsupportedError(
                f"{part.name} is not part {number + 1} of {count} of this model",
                where=part.name,
                fix="fetch all parts again, from the same place",
            )
        tensors |= part.tensors
    first = parts[0]
    wanted = first.metadata.get("split.tensors.count", len(tensors))
    if wanted != len(tensors):
        raise UnsupportedError(
            f"{first.name} and the other parts hold {len(tensors)} tensors of {wanted}",
            where=first.name,
            fix="fetch all parts again, from the same place",
        )
    return GgufFile(first.name, tuple(p.paths[0] for p in parts), first.metadata, tensors)
