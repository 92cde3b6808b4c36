"""How a checkpoint's images are prepared, read from transformers' image processor."""

import sys

from PIL import Image


def how(folder, known):
    """The settings ``images`` of the served model, and the shape of what they make.

    ``known`` says of each class of processors how it differs from the usual order: resize, crop,
    scale, normalize.
    """
    from transformers import AutoImageProcessor

    found = AutoImageProcessor.from_pretrained(
        folder, use_fast=False, trust_remote_code=False, local_files_only=True
    )
    name = type(found).__name__.removesuffix("Pil")
    if name not in known:
        _refuse(f"{name} does more than resize, crop and normalize images")
    made = _usual(found)
    _OTHERS.get(known[name], lambda *_: None)(found, made)
    shapes = {
        found(Image.new("RGB", size), return_tensors="np")["pixel_values"].shape[1:]
        for size in ((90, 31), (31, 90), (300, 300))
    }
    if len(shapes) != 1:
        _refuse("preprocessor_config.json makes images of different sizes")
    return made, list(shapes.pop())


def _usual(found):
    size = dict(found.size or {}) if found.do_resize else {}
    if found.do_resize and not ({"height", "width"} == size.keys() or [*size] == ["shortest_edge"]):
        _refuse(f"preprocessor_config.json has the size {size}")
    if getattr(found, "do_pad", None):
        _refuse("preprocessor_config.json pads images")
    crop = dict(found.crop_size or {}) if getattr(found, "do_center_crop", None) else {}
    plain = not found.do_normalize
    return {
        "size": size,
        "resample": int(found.resample),
        "crop": [crop["height"], crop["width"]] if crop else [],
        "scale": float(found.rescale_factor) if found.do_rescale else 1.0,
        "mean": [0.0] * 3 if plain else _three(found.image_mean),
        "std": [1.0] * 3 if plain else _three(found.image_std),
        "bgr": False,
    }


def _three(value):
    return [float(value)] * 3 if isinstance(value, (int, float)) else list(map(float, value))


def _convnext(found, made):
    """Below 384 pixels a part of the middle is kept; larger images are resized whatever their
    shape."""
    edge = made["size"].get("shortest_edge", 0)
    if edge >= 384:
        made["size"] = {"height": edge, "width": edge}
    elif edge:
        made["size"] = {"shortest_edge": int(edge / found.crop_pct)}
        made["crop"] = [edge, edge]


def _levit(_found, made):
    """Its shorter edge is a seventh longer than the file says."""
    if edge := made["size"].get("shortest_edge"):
        made["size"] = {"shortest_edge": int((256 / 224) * edge)}


def _efficientnet(found, made):
    """Values may be moved down by 1, and divided by the deviation once more."""
    if found.rescale_offset:
        made["mean"] = [mean + 1 for mean in made["mean"]]
    if found.include_top:
        made["std"] = [std * deviation for std, deviation in zip(
            made["std"], _three(found.image_std), strict=True)]  # fmt: skip


def _mobilevit(found, made):
    """Channels in the order of OpenCV, and no normalization."""
    made["bgr"] = bool(found.do_flip_channel_order)
    made |= {"mean": [0.0] * 3, "std": [1.0] * 3}


_OTHERS = {
    "convnext": _convnext, "levit": _levit, "efficientnet": _efficientnet, "mobilevit": _mobilevit,
}  # fmt: skip


def _refuse(what):
    sys.exit(f"ERROR: {what}: use --backend torch")
