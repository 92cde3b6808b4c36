"""A chart and its values, rendered by helm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_VERSION = "1.34"  # of Kubernetes, for which a chart is rendered


def is_chart(root: Path) -> bool:
    """Whether a chart and its values are there, as the target helm writes them."""
    return (root / "chart/Chart.yaml").is_file() and (root / "values.yaml").is_file()


def rendered(root: Path, helm: str) -> Iterator[tuple[str, str, str]]:
    """What each environment is called, its objects, and what keeps helm from rendering them."""
    for overlay in (None, *sorted(root.glob("values-*.yaml"))):
        yield _render(helm, root, overlay)


def _render(helm: str, root: Path, overlay: Path | None) -> tuple[str, str, str]:
    from trtbuild import process

    name = f"chart with {overlay.name if overlay else 'values.yaml'}"
    more = ["-f", str(overlay)] if overlay else []
    words = [helm, "template", "check", str(root / "chart"), "-f", str(root / "values.yaml"), *more]
    done = process.run([*words, "--kube-version", _VERSION], timeout=60)
    return name, done.stdout, "" if done.ok else " ".join(done.stderr.split())
