"""Where an exported job runs; the command line makes its flags from the fields."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from trtbuild.cli.fields import option
from trtbuild.errors import UsageError
from trtbuild.recipe import RECIPE_NAME

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """Where an exported job runs."""

    file: str = option(RECIPE_NAME, "The recipe with the job.", short="-f")
    image: str = option("", "cronjob, argo: the image, with trtbuild and the extras of the job.")
    namespace: str = option("", "cronjob, argo: the namespace; default: kubectl's.")
    secret: str = option(
        "", "cronjob, argo: a Secret whose keys become variables, such as AWS_ACCESS_KEY_ID."
    )
    volume: str = option(
        "",
        "cronjob, argo: CLAIM:/PATH, a volume for the files of the job that are not in a bucket.",
    )

    def __post_init__(self) -> None:
        for name in ("namespace", "secret"):
            value = getattr(self, name)
            if value and not _LABEL.fullmatch(value):
                raise UsageError(
                    f"{value!r} is not a name of Kubernetes",
                    where=f"--{name}",
                    fix="write lowercase letters, digits and '-'",
                )

    def mounted(self) -> tuple[str, PurePosixPath] | None:
        """Return the claim and its path. UsageError if they are neither."""
        if not self.volume:
            return None
        claim, _, path = self.volume.partition(":")
        if not _LABEL.fullmatch(claim) or not path.startswith("/") or path == "/":
            raise UsageError(
                f"{self.volume!r} is not a volume",
                where="--volume",
                fix="write CLAIM:/PATH, such as documents:/data",
            )
        return claim, PurePosixPath(path)
