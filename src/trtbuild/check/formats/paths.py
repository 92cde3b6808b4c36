"""Where a finding's file is, as tools that know nothing of repositories want to hear it."""

from __future__ import annotations

import os
from pathlib import Path

from trtbuild.check.model import Finding


def from_here(finding: Finding) -> str:
    """The file relative to the working directory, with ``/``; absolute when it is not below."""
    path = os.path.abspath(os.path.join(finding.repository, finding.file))  # noqa: PTH100, PTH118
    here = os.path.relpath(path)
    return Path(path if here.startswith("..") else here).as_posix()
