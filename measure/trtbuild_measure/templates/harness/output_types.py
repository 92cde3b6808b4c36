"""Print what the named tasks ask a model for; runs in the Python of lm-evaluation-harness.

    python output_types.py INCLUDE_PATH TASK…

Prints a JSON object: for each task its types, such as ``multiple_choice``; null for an unknown
name, which is followed by the names that are known. Task files are read without their functions.
"""

import json
import sys

from lm_eval.tasks import TaskManager


def types_of(name, index, seen):
    """Return the types of a task, or of all tasks of a group or tag."""
    entry = index.get(name)
    if entry is None or name in seen:
        return set()
    seen.add(name)
    cfg = entry.cfg or {}
    found = set()
    members = cfg.get("task")
    for member in [*entry.tags, *(members if isinstance(members, list) else [])]:
        if isinstance(member, dict):
            found |= {member["output_type"]} if "output_type" in member else set()
        inner = member.get("task") or member.get("group") if isinstance(member, dict) else member
        if isinstance(inner, str):
            found |= types_of(inner, index, seen)
    if entry.kind.name in ("TASK", "PY_TASK"):
        # A task written in Python says so only when it runs; without a word it generates.
        python = entry.kind.name == "PY_TASK"
        found = {cfg.get("output_type") or ("unknown" if python else "generate_until")}
    return found


def main():
    """See the module."""
    include, *names = sys.argv[1:]
    index = TaskManager(include_path=include or None).task_index
    found = {name: sorted(types_of(name, index, set())) or None for name in names}
    known = sorted(index) if None in found.values() else []
    print(json.dumps({"types": found, "known": known}))


if __name__ == "__main__":
    main()
