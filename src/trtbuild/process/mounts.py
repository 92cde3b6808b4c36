"""Mount options for containers, accepted by both docker and podman."""

from __future__ import annotations

from os import PathLike


def mount(source: str | PathLike[str], target: str, *, written: bool = False) -> list[str]:
    """Return the arguments that mount ``source`` at ``target``, read-only unless ``written``.

    ``--volume`` splits at colons, which a path may contain; ``--mount`` is a CSV line
    (https://docs.docker.com/engine/storage/bind-mounts/#options-for---mount).
    """
    path = str(source)
    if ":" not in path:
        return ["-v", f"{path}:{target}{'' if written else ':ro'}"]
    fields = ["type=bind", f"source={path}", f"target={target}"]
    fields += [] if written else ["readonly"]
    return ["--mount", ",".join(map(_quoted, fields))]


def _quoted(field: str) -> str:
    escaped = field.replace('"', '""')
    return f'"{escaped}"' if any(mark in field for mark in ',"\n') else field
