"""Talking to a served LLM: one interface over Triton's protocols and input dialects."""

from trtbuild.chat import ChatTemplate, find_template, own_template, render_chat
from trtbuild.client.dialect import Dialect, detect_dialect
from trtbuild.client.failures import NotServedError
from trtbuild.client.llm import LLMClient
from trtbuild.client.metadata import ModelMetadata, Tensor
from trtbuild.client.ready import wait_ready
from trtbuild.client.records import ServerRecord, find_server, running_servers
from trtbuild.client.values import Answer, Chunk, Sampling, collect

__all__ = [
    "Answer",
    "ChatTemplate",
    "Chunk",
    "Dialect",
    "LLMClient",
    "ModelMetadata",
    "NotServedError",
    "Sampling",
    "ServerRecord",
    "Tensor",
    "collect",
    "detect_dialect",
    "find_server",
    "find_template",
    "own_template",
    "render_chat",
    "running_servers",
    "wait_ready",
]
