"""``deploy.yaml``: what the repository cannot say about its deployment."""

from trtbuild_deploy.settings.base import SecretRef, schema_of
from trtbuild_deploy.settings.loading import load_settings, parse_settings
from trtbuild_deploy.settings.model import (
    ENVIRONMENTS,
    SETTINGS_NAME,
    Autoscaling,
    Gateway,
    Gpu,
    Network,
    Server,
    Settings,
    Weights,
)
from trtbuild_deploy.settings.observing import Observe
from trtbuild_deploy.settings.targets import Worker

__all__ = [
    "ENVIRONMENTS",
    "SETTINGS_NAME",
    "Autoscaling",
    "Gateway",
    "Gpu",
    "Network",
    "Observe",
    "SecretRef",
    "Server",
    "Settings",
    "Weights",
    "Worker",
    "load_settings",
    "parse_settings",
    "schema_of",
]
