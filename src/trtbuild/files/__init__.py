"""Files: atomic writes, cloning without reading, cached digests."""

from trtbuild.files.clone import LINKABLE_BYTES, clone_file, clone_needs_space
from trtbuild.files.digests import DigestCache, digest, digest_all
from trtbuild.files.staging import (
    atomic_write,
    exchange,
    exclusive,
    require_regular,
    scratch,
    staged_dir,
    sweep,
)
from trtbuild.files.standins import (
    StandIn,
    begins_page,
    explain_stand_ins,
    is_pointer,
    is_web_page,
    stand_in,
)
from trtbuild.files.trouble import disk_trouble, require_space

__all__ = [
    "LINKABLE_BYTES",
    "DigestCache",
    "StandIn",
    "atomic_write",
    "begins_page",
    "clone_file",
    "clone_needs_space",
    "digest",
    "digest_all",
    "disk_trouble",
    "exchange",
    "exclusive",
    "explain_stand_ins",
    "is_pointer",
    "is_web_page",
    "require_regular",
    "require_space",
    "scratch",
    "staged_dir",
    "stand_in",
    "sweep",
]
