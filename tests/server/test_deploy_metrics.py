"""The table of metrics against the page of a real server."""

from __future__ import annotations

import httpx
import pytest

from support.prometheus import labels_by_series
from support.triton import Triton
from trtbuild_deploy.facts import Exporters, metrics_of

pytestmark = pytest.mark.vllm


def test_every_family_of_the_table_is_on_the_page_with_its_labels(vllm_server: Triton) -> None:
    page = httpx.get(f"http://127.0.0.1:{vllm_server.metrics_port}/metrics").text
    shown = labels_by_series(page)
    exporters = Exporters(frozenset({"vllm"}), "24.10", decoupled=True, place="embedded")
    for name, family in metrics_of(exporters).families.items():
        series = f"{name}_bucket" if family.kind == "histogram" else name
        assert shown.get(series, set()) - {"le"} == set(family.labels), name
