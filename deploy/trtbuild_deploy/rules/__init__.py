"""Rules about deployment files (DEP) and about monitoring (OBS), whoever wrote them; importing it
registers them.

They see what schemas and policy tools do not: arithmetic between fields, and metrics that do not
exist. The first digit of an id is the subject's: DEP 1 replicas, 2 wiring, 3 autoscaling; OBS 1
monitoring.
"""

from trtbuild_deploy.rules import autoscaling, judging, monitoring, replicas, wiring

__all__ = ["autoscaling", "judging", "monitoring", "replicas", "wiring"]
