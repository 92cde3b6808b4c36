"""The rules of a deployment on a machine without a GPU, with a gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from trtbuild_deploy.jobs.render import render

REHEARSED = """
gpu: {mode: none}
rehearsalImage: example/trtbuild:1
gateway: {enabled: true, image: example/gateway:1}
observe: {firstToken: 30, betweenTokens: 5}
"""
"""The limits are those of a machine that does a hundred other things."""


def rules_of(repo: Path, folder: Path) -> list[dict[str, Any]]:
    """Every rule for the embedded server and the gateway."""
    (folder / "deploy.yaml").write_text(REHEARSED)
    files = render("observe", repo, folder / "deploy.yaml").files
    (content,) = (file.content for file in files if file.path == "rules.yaml")
    return [rule for group in yaml.safe_load(content)["groups"] for rule in group["rules"]]
