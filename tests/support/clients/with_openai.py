"""openai-python: every route of text, whole and streamed."""

import sys

import openai
from pydantic import BaseModel


class Weather(BaseModel):
    """A form of an answer."""

    kind: str
    degrees: int


client = openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none", max_retries=0)
asked = {"model": "scripted", "messages": [{"role": "user", "content": "Hello"}]}
SAID = "Hello there, it is a sunny day."

assert client.chat.completions.create(**asked).choices[0].message.content == SAID
with client.chat.completions.stream(**asked) as chat:
    assert chat.get_final_completion().choices[0].message.content == SAID
parsed = client.chat.completions.parse(**asked, response_format=Weather)
assert parsed.choices[0].message.parsed == Weather(kind="sunny", degrees=3)
tool = openai.pydantic_function_tool(Weather)
called = client.chat.completions.parse(**asked, tools=[tool]).choices[0].message.tool_calls
assert called[0].function.parsed_arguments == Weather(kind="sunny", degrees=3)

assert client.completions.create(model="scripted", prompt="Hello").choices[0].text == SAID

answer = client.responses.create(model="scripted", input="Hello")
assert answer.output_text == SAID
again = [{"role": "user", "content": "Hello"}, *answer.output, {"role": "user", "content": "So?"}]
with client.responses.stream(model="scripted", input=again) as stream:
    assert stream.get_final_response().output_text == SAID
shaped = client.responses.parse(model="scripted", input="Hello", text_format=Weather)
assert shaped.output_parsed == Weather(kind="sunny", degrees=3)

assert len(client.embeddings.create(model="embedder", input=["a", "bb"]).data) == 2
assert {model.id for model in client.models.list()} >= {"scripted", "embedder"}
print(openai.__version__)
