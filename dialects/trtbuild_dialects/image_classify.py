"""Labels of images.

``image`` STRING (base64 text of a PNG, JPEG or WebP file, as in NVIDIA's vLLM backend) → ``scores``
FP32 [labels] and ``label`` STRING, with the request parameter ``raw_scores``.
"""

from __future__ import annotations

from collections.abc import Sequence

from trtbuild.signature.model import ServedModel, ServedTask
from trtbuild.signature.requests import ImageClassifyRequest, TaskRequest
from trtbuild_dialects.classify import Labelled, Labelling
from trtbuild_dialects.samples import gray_png


class ImageClassify(Labelled):
    """Labels of images."""

    name = "image-classify"
    priority = 20
    task = ServedTask.IMAGE_CLASSIFY
    takes = (ImageClassifyRequest,)
    required = (("image",), ("scores",))
    noun = "image"

    def items(self, request: Labelling) -> Sequence[str]:
        """Return the images."""
        return request.images if isinstance(request, ImageClassifyRequest) else ()

    def example(self, model: ServedModel) -> TaskRequest:
        """Return a gray square."""
        return ImageClassifyRequest((gray_png(),))


dialect = ImageClassify()
