"""instructor: objects from answers, in each of its ways to ask for them, whole and in parts."""

import sys
from importlib.metadata import version

import instructor
import openai
from pydantic import BaseModel


class Weather(BaseModel):
    """What is asked for."""

    kind: str
    degrees: int


asked = {"model": "scripted", "messages": [{"role": "user", "content": "Hello"}]}
plain = openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none", max_retries=0)
for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA, instructor.Mode.TOOLS_STRICT):
    client = instructor.from_openai(plain, mode=mode)
    found = client.chat.completions.create(**asked, response_model=Weather, max_retries=0)
    assert (found.kind, found.degrees) == ("sunny", 3), mode
    *_, last = client.chat.completions.create_partial(**asked, response_model=Weather)
    assert (last.kind, last.degrees) == ("sunny", 3), mode
print(version("instructor"))
