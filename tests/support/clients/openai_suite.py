"""A plug-in for openai-python's own tests: they name files and batches that must exist.

Before each test, the directory of the gateway's files is what ``KEPT`` holds.
"""

import os
import shutil

import pytest


@pytest.fixture(autouse=True)
def kept_files() -> None:
    """Files and batches with the names of the tests."""
    shutil.copytree(os.environ["KEPT"], os.environ["STORE"], dirs_exist_ok=True)
