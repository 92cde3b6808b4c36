"""Call a served model: one interface over Triton's protocols and the request schemas."""

from trtbuild.chat import ChatTemplate, find_template, own_template, render_chat
from trtbuild.client.failures import NotServedError
from trtbuild.client.llm import AsyncLLMClient, LLMClient
from trtbuild.client.ready import wait_ready
from trtbuild.client.transport import DescribedModel
from trtbuild.client.values import Answer, collect
from trtbuild.signature.requests import Chunk
from trtbuild.signature.sampling import Sampling

__all__ = [
    "Answer",
    "AsyncLLMClient",
    "ChatTemplate",
    "Chunk",
    "DescribedModel",
    "LLMClient",
    "NotServedError",
    "Sampling",
    "collect",
    "find_template",
    "own_template",
    "render_chat",
    "wait_ready",
]
