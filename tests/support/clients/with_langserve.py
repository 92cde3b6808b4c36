"""examples/langserve_app.py, called over HTTP.

python with_langserve.py URL PATH_OF_THE_EXAMPLE
"""

import importlib.util
import json
import os
import sys

from fastapi.testclient import TestClient

os.environ |= {"GATEWAY": sys.argv[1], "MODEL": "scripted"}
spec = importlib.util.spec_from_file_location("langserve_app", sys.argv[2])
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)
client = TestClient(example.app)

SAID = "Hello there, it is a sunny day."
one = client.post("/explain/invoke", json={"input": {"topic": "rain"}}).json()
assert one["output"]["content"] == SAID
both = client.post("/explain/batch", json={"inputs": [{"topic": "rain"}, {"topic": "snow"}]}).json()
assert [answer["content"] for answer in both["output"]] == [SAID, SAID]
stream = client.post("/explain/stream", json={"input": {"topic": "rain"}}).text
blocks = [block.splitlines() for block in stream.replace("\r", "").split("\n\n")]
pieces = [
    json.loads(lines[1].removeprefix("data: "))["content"]
    for lines in blocks
    if lines and lines[0] == "event: data"
]
assert "".join(pieces) == SAID
assert len([piece for piece in pieces if piece]) > 1
print(SAID)
