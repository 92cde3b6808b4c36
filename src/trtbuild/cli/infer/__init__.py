"""``trtbuild infer``: its command, who asks, and what answers look like."""

from trtbuild.cli.infer.command import register

__all__ = ["register"]
