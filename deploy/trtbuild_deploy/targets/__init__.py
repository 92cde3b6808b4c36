"""The targets, one module or package each; see :class:`trtbuild_deploy.target.Target`."""
