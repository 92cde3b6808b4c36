"""The manifests of the guide for workers are valid for a cluster."""

from __future__ import annotations

import re

import yaml

from support.kubernetes import require_valid
from support.paths import TESTS


def test_the_guides_manifests_are_valid() -> None:
    page = (TESTS.parent / "docs/guides/queues.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    found = list(yaml.safe_load_all(text))
    assert [one["kind"] for one in found] == ["Deployment", "ScaledObject"]
    for one in found:
        require_valid(one, "1.34")
    assert found[1]["spec"]["scaleTargetRef"]["name"] == found[0]["metadata"]["name"]
