"""Programs of other projects that run beside a server on this machine: Envoy, Prometheus."""

from trtbuild_deploy.local.envoy import Envoy
from trtbuild_deploy.local.program import Program, installed
from trtbuild_deploy.local.prometheus import Prometheus

__all__ = ["Envoy", "Program", "Prometheus", "installed"]
