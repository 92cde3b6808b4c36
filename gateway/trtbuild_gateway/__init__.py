"""The gateway: OpenAI's API in front of any model that trtbuild can describe.

It knows models by their description (:mod:`trtbuild.signature`) and speaks with servers through
:mod:`trtbuild.wire`. See docs/concepts/gateway.md.
"""

__version__ = "0.1.0"
