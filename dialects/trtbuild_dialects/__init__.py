"""First-party request schemas, found through the entry-point group ``trtbuild.dialects.v1``."""
