"""Which builder, why no other, what it will do, whether it fits: before anything runs."""

from trtbuild.planner.choice import Candidate, choose_builder, survey
from trtbuild.planner.making import make_plan

__all__ = ["Candidate", "choose_builder", "make_plan", "survey"]
