"""The environment of other projects' clients, which `make nightly` makes."""

from __future__ import annotations

import os
from pathlib import Path

from support.paths import ROOT

ENVIRONMENT = Path(os.environ.get("TRTBUILD_CLIENTS", ROOT / ".venv-clients"))
PYTHON = ENVIRONMENT / "bin/python"
SCRIPTS = ROOT / "tests/support/clients"
