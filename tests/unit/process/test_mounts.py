"""How a directory is shown to a container."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from trtbuild.process import mount


def test_a_plain_path_is_a_volume() -> None:
    assert mount(Path("/data/a b"), "/models") == ["-v", "/data/a b:/models:ro"]
    assert mount("/data", "/out", written=True) == ["-v", "/data:/out"]


@pytest.mark.parametrize("path", ["/data/12:30/run", '/a:b,c/"d"', "C:\\models"])
def test_a_path_with_colons_is_a_mount_that_csv_reads_back(path: str) -> None:
    option, line = mount(path, "/models")
    assert option == "--mount"
    (fields,) = csv.reader([line])
    assert fields == ["type=bind", f"source={path}", "target=/models", "readonly"]
    assert "readonly" not in mount(path, "/models", written=True)[1]
