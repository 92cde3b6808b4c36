"""Write the chart's values.schema.json from the model of its values; ``--check`` only compares."""

from __future__ import annotations

import json
import sys

from trtbuild_deploy.resources import data_file
from trtbuild_deploy.settings import schema_of
from trtbuild_deploy.targets.helm.values import Values

PATH = data_file("chart", "values.schema.json")


def schema() -> str:
    """The schema, closed everywhere: an unknown key is an error."""
    return json.dumps(schema_of(Values), indent=2, sort_keys=True) + "\n"


def main() -> int:
    """Write the file, or compare it."""
    made = schema()
    if "--check" in sys.argv[1:]:
        fresh = PATH.read_text(encoding="utf-8") == made
        if not fresh:
            print(f"{PATH.name} is out of date; run: python scripts/write_values_schema.py")
        return int(not fresh)
    PATH.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
