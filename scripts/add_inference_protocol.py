"""Write ``data/inference_protocol.json``: Triton's gRPC messages, as compiled schemas.

A maintainer's chore, run when a release adds a field (``add_model_config_fields.py`` shows it):

    python scripts/add_inference_protocol.py 2.73.0

Downloads that tritonclient wheel and takes the serialized ``FileDescriptorProto`` of
``model_config.proto`` and ``grpc_service.proto`` out of it; nothing of it is imported.
"""

from __future__ import annotations

import argparse
import ast
import base64
import datetime
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

TABLE = Path(__file__).parents[1] / "src" / "trtbuild" / "data" / "inference_protocol.json"
MODULES = ("model_config_pb2", "service_pb2")  # in the order of their imports
_LITERAL = re.compile(r"AddSerializedFile\(\s*(b'(?:[^'\\]|\\.)*')", re.DOTALL)


def schema(archive: zipfile.ZipFile, module: str) -> bytes:
    """The serialized schema in a generated module of a wheel.

    Raises:
        ValueError: The module has none.
    """
    literal = _LITERAL.search(archive.read(f"tritonclient/grpc/{module}.py").decode())
    if literal is None:
        raise ValueError(f"no schema in {module}")
    return bytes(ast.literal_eval(literal[1]))


def main() -> None:
    """Download and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("version", help="of tritonclient")
    version = parser.parse_args().version
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder]
        subprocess.run([*command, f"tritonclient=={version}"], check=True)
        wheel = next(Path(folder).glob(f"tritonclient-{version}-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            files = [base64.b64encode(schema(archive, name)).decode() for name in MODULES]
    found = {
        "source": "grpc_service.proto and model_config.proto of triton-inference-server/common "
        f"(BSD-3-Clause), as compiled in tritonclient {version}",
        "read": datetime.date.today().isoformat(),
        "files": files,
    }
    TABLE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {TABLE.name}: {', '.join(f'{len(text) * 3 // 4:,} bytes' for text in files)}")


if __name__ == "__main__":
    main()
