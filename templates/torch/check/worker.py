"""Compare a served model of PyTorch with the reference. Runs in an environment of its own.

    python worker.py JOB.json

Progress goes to standard output as JSON, a line each, and everything else that is printed is for
the log. Nothing of the checkpoint is run: ``trust_remote_code`` stays off and only safetensors are
loaded.
"""

import json
import sys
from pathlib import Path

_TEMPLATES = Path(__file__).resolve().parent.parent.parent
_PARTS = ("text/model", "text/check", "text/torch", "torch/model", "torch/check", "shared")
sys.path[:0] = [str(_TEMPLATES / part) for part in _PARTS]

from accuracy import check, say  # noqa: E402


def main(path):
    """Compare the code that will be served with the reference."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    sys.path.insert(0, str(_TEMPLATES / "torch" / job["kind"]))
    say(step="loading PyTorch and transformers")
    _KINDS[job["kind"]](Path(job["model"]), Path(job["out"]), job["settings"], job)
    say(step="done")


def _texts(folder, out, settings, job):
    from torch_place import place_of
    from torch_texts import Body

    check(folder, out, settings, job, core=Body(folder, settings, place_of(settings)))


def _images(folder, out, settings, job):
    import check_images
    from torch_images import Images
    from torch_place import place_of

    served = Images(folder, settings, place_of(settings))
    check_images.check(folder, out, served, job["limits"])


def _recordings(folder, out, settings, job):  # noqa: ARG001 - texts are equal or not
    import check_recordings

    check_recordings.check(folder, out, settings)


_KINDS = {"texts": _texts, "images": _images, "recordings": _recordings}

if __name__ == "__main__":
    main(sys.argv[1])
