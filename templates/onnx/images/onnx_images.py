"""Images to the numbers that a graph takes: resized by Pillow, cropped, scaled, normalized.

The served model and the accuracy check of a conversion both run this. The settings in ``images``
were read from transformers' image processor by the conversion.
"""

import numpy as np
from image_rows import ImageRows


class Images(ImageRows):
    """An image classifier whose graph is the function ``core`` of arrays by name."""

    def __init__(self, settings, core):
        super().__init__(settings["rows"])
        self._how, self._core = settings["images"], core
        (self._input,) = settings["inputs"]

    def array(self, picture):
        """FP32 [3, height, width] of an RGB picture."""
        return pixels(picture, self._how)

    def logits(self, batch):
        """The graph's logits."""
        return self._core({self._input: batch})


def pixels(picture, how):
    """FP32 [3, height, width] of an RGB picture, as transformers' image processor computes it."""
    if how["size"]:
        picture = picture.resize(resized(picture.size, how["size"]), resample=how["resample"])
    array = np.asarray(picture)
    if how["crop"]:
        array = cropped(array, *how["crop"])
    array = array.astype(np.float32) * np.float32(how["scale"])
    array = (array - np.float32(how["mean"])) / np.float32(how["std"])
    if how["bgr"]:
        array = array[:, :, ::-1]
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def resized(size, wanted):
    """Width and height: the wanted ones, or those with the wanted shorter edge."""
    if "height" in wanted:
        return wanted["width"], wanted["height"]
    edge = wanted["shortest_edge"]
    short, long = min(size), max(size)
    other = int(edge * long / short)
    return (edge, other) if size[0] <= size[1] else (other, edge)


def cropped(array, height, width):
    """The middle of an image [height, width, 3]; black around one that is smaller."""
    for axis, wanted in enumerate((height, width)):
        missing = max(0, wanted - array.shape[axis])
        if missing:
            around = [(0, 0)] * array.ndim
            around[axis] = (missing - missing // 2, missing // 2)
            array = np.pad(array, around)
    top, left = (array.shape[0] - height) // 2, (array.shape[1] - width) // 2
    return array[top : top + height, left : left + width]
