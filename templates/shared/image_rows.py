"""An image classifier, from the files of a request to a row of logits for each."""

import numpy as np
import request_images
from text_rows import Refused
from text_tasks import Work, image_labels

# A strip of one pixel's height is enlarged until that edge is as long as the model's: 8,192 such
# pixels would become 400 million.
_MOST_RATIO = 100


class ImageRows:
    """A subclass has ``array``, of one picture, and ``logits``, of a batch of equal size."""

    def __init__(self, most):
        self._most = most

    def pixels(self, values):
        """What the module takes, of the base64 texts of a request's images."""
        try:
            pictures = request_images.pictures(values)
        except request_images.ImageError as error:
            raise Refused(str(error)) from None
        for one in pictures:
            if max(one.size) > _MOST_RATIO * min(one.size):
                raise Refused(
                    f"an image has {one.width} x {one.height} pixels; its longer edge may be "
                    f"{_MOST_RATIO} times the shorter one: crop it"
                )
        return [self.array(one) for one in pictures]

    def run(self, pixels):
        """A row of logits for each image; images of one size are computed together."""
        found = [None] * len(pixels)
        shapes = {}
        for at, one in enumerate(pixels):
            shapes.setdefault(one.shape, []).append(at)
        for places in shapes.values():
            for start in range(0, len(places), self._most):
                group = places[start : start + self._most]
                rows = self.logits(np.stack([pixels[at] for at in group]))
                for at, row in zip(group, rows, strict=True):
                    found[at] = row
        return found

    def array(self, picture):
        """The pixels of an RGB picture, as the module takes them."""
        raise NotImplementedError

    def logits(self, batch):
        """A row of logits for each image of ``batch``."""
        raise NotImplementedError


def prepare(images, settings, values, asked):
    """The work of a request with the images ``values``, and their pixels."""
    if not len(values):
        raise Refused("the request has no image: send at least one")
    answer = image_labels(settings, asked)
    return Work([], "NONE", lambda rows, _: answer(rows)), images.pixels(values)
