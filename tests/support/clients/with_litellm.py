"""litellm, as a library: chat, tools, streams, text, embeddings, and responses."""

import asyncio
import sys
from importlib.metadata import version

import litellm

litellm.suppress_debug_info = True
base = {"api_base": f"{sys.argv[1]}/v1", "api_key": "none"}
chat = {"model": "openai/scripted", "messages": [{"role": "user", "content": "Hello"}], **base}
SAID = "Hello there, it is a sunny day."
TOOL = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}

assert litellm.completion(**chat).choices[0].message.content == SAID
chunks = list(litellm.completion(**chat, stream=True, stream_options={"include_usage": True}))
whole = litellm.stream_chunk_builder(chunks)
assert whole.choices[0].message.content == SAID
assert whole.usage.completion_tokens == 8
for stream in (False, True):
    made = litellm.completion(**chat, tools=[{"type": "function", "function": TOOL}], stream=stream)
    made = litellm.stream_chunk_builder(list(made)) if stream else made
    (call,) = made.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("add", '{"a": 3}'), call

text = {**base, "model": "text-completion-openai/scripted"}
assert litellm.text_completion(prompt="Hello", **text).choices[0].text == SAID
assert len(litellm.embedding(model="openai/embedder", input=["a"], **base).data) == 1
answer = litellm.responses(model="openai/scripted", input="Hello", **base)
assert answer.output[0].content[0].text == SAID
events = litellm.responses(model="openai/scripted", input="Hello", stream=True, **base)
*_, last = [event.type for event in events]
assert last == "response.completed"
asking = litellm.anthropic.messages.acreate(
    model="anthropic/scripted",
    max_tokens=50,
    messages=chat["messages"],
    api_base=sys.argv[1],
    api_key="none",
)
assert asyncio.run(asking)["content"][0]["text"] == SAID
try:
    litellm.completion(**{**chat, "model": "openai/other"})
except litellm.NotFoundError as error:
    assert "there is" in str(error)
else:
    raise SystemExit("a model that does not exist answered")
print(version("litellm"))
