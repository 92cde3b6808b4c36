"""llama-index's client for servers like OpenAI's: chat, streams, text, tools, objects."""

import sys
from importlib.metadata import version

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel


class Weather(BaseModel):
    """What is asked for."""

    kind: str
    degrees: int


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


SAID = "Hello there, it is a sunny day."
base = {"api_base": f"{sys.argv[1]}/v1", "api_key": "none", "model": "scripted", "max_retries": 0}
chat = OpenAILike(**base, is_chat_model=True, is_function_calling_model=True, context_window=1000)
hello = [ChatMessage(role="user", content="Hello")]
assert chat.chat(hello).message.content == SAID
assert list(chat.stream_chat(hello))[-1].message.content == SAID
made = chat.chat_with_tools([FunctionTool.from_defaults(add)], user_msg="Add 1 and 2")
(call,) = chat.get_tool_calls_from_response(made)
assert (call.tool_name, call.tool_kwargs) == ("add", {"a": 3, "b": 3})
found = chat.as_structured_llm(Weather).chat(hello).raw
assert (found.kind, found.degrees) == ("sunny", 3)
text = OpenAILike(**base, is_chat_model=False, context_window=1000)
assert text.complete("Hello").text == SAID
print(version("llama-index-llms-openai-like"))
