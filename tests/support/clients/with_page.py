"""The Python of a section of docs/guides/frameworks.md, as a reader would run it.

python with_page.py URL PAGE SECTION
"""

import re
import sys
from pathlib import Path

url, page, section = sys.argv[1], Path(sys.argv[2]).read_text(encoding="utf-8"), sys.argv[3]
(text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
(code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
places = {"http://127.0.0.1:9000": url, '"smollm2"': '"scripted"', '"minilm"': '"embedder"'}
for shown, here in places.items():
    assert shown in code
    code = code.replace(shown, here)
found = {}
exec(compile(code, section, "exec"), found)
assert len(found["vectors"]) == 2
assert all(len(vector) == 3 for vector in found["vectors"])
