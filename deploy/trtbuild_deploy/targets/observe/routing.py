"""Routes of Alertmanager: whom an alert wakes, and which one hides others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtbuild_deploy.settings import Observe


def alertmanager(observe: Observe) -> dict[str, Any]:
    """The configuration: pages at once, the rest in groups; a webhook where one is named."""
    labels = sorted(observe.labels)
    return {
        "route": {
            "receiver": "notify",
            "group_by": ["alertname", "model", *labels],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": "4h",
            "routes": [
                {
                    "receiver": "page",
                    "matchers": ['severity="page"'],
                    "group_wait": "0s",
                    "repeat_interval": "1h",
                }
            ],
        },
        "receivers": [_receiver("page", observe.page), _receiver("notify", observe.notify)],
        # What follows from a dead engine is not told beside it; other models still are. A stuck
        # engine is seen without its model.
        "inhibit_rules": [
            _hidden("TritonEngineStuck", 'severity="notify"', labels=labels),
            _hidden("TritonEngineDead", 'severity="notify"', 'model=""', labels=labels),
            _hidden("TritonEngineDead", 'severity="notify"', labels=("model", *labels)),
        ],
    }


def _hidden(source: str, *targets: str, labels: Sequence[str]) -> dict[str, Any]:
    return {
        "source_matchers": [f'alertname="{source}"'],
        "target_matchers": list(targets),
        "equal": list(labels),
    }


def _receiver(name: str, url: str) -> dict[str, Any]:
    return {"name": name, "webhook_configs": [{"url": url}]} if url else {"name": name}
