"""Rules about deployment files (DEP), whoever wrote them; importing it registers them.

They see what schemas and policy tools do not: arithmetic between fields, and metrics that do not
exist. The first digit of an id is the subject's: 1 replicas, 2 wiring, 3 autoscaling.
"""

from trtbuild_deploy.rules import autoscaling, judging, replicas, wiring

__all__ = ["autoscaling", "judging", "replicas", "wiring"]
