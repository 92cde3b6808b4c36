"""Routes of Alertmanager: whom an alert wakes, and which one hides others."""

from __future__ import annotations

from typing import Any

from trtbuild_deploy.settings import Observe


def alertmanager(observe: Observe) -> dict[str, Any]:
    """The configuration: pages at once, the rest in groups; a webhook where one is named."""
    return {
        "route": {
            "receiver": "notify",
            "group_by": ["alertname", "model", *sorted(observe.labels)],
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
        # What follows from a dead engine is not told beside it.
        "inhibit_rules": [
            {
                "source_matchers": ['alertname=~"TritonEngineDead|TritonEngineStuck"'],
                "target_matchers": ['severity="notify"'],
                "equal": sorted(observe.labels),
            }
        ],
    }


def _receiver(name: str, url: str) -> dict[str, Any]:
    return {"name": name, "webhook_configs": [{"url": url}]} if url else {"name": name}
