"""The section ``access`` of ``gateway.yaml``: who may ask for what, and how much."""

from __future__ import annotations

from pathlib import Path

import msgspec


class AccessSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Access control; without keys everybody may ask for everything.

    Attributes:
        keys: The file that ``trtbuild keys`` writes.
        public: Paths that need no key.
    """

    keys: Path | None = None
    public: tuple[str, ...] = ("/health*",)

    def placed(self, base: Path) -> AccessSettings:
        """Return the settings with relative paths below ``base``."""
        return msgspec.structs.replace(self, keys=None if self.keys is None else base / self.keys)
