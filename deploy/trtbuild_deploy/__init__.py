"""Deployment targets, a plug-in of trtbuild: the files that take a repository to production.

A target is one module behind :class:`trtbuild_deploy.target.Target`, found through the entry-point
group ``trtbuild.deployers.v1``. The core finds the command through entry points and imports nothing
from here.
"""
