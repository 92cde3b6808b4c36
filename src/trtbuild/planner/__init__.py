"""Choose the builder and predict what it does and whether it fits, before anything runs."""

from trtbuild.planner.choice import Candidate, choose_builder, survey
from trtbuild.planner.making import make_plan

__all__ = ["Candidate", "choose_builder", "make_plan", "survey"]
