"""Images of a request: a right picture or a clear error, whatever the file."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from support.pictures import GREEN, RED, bomb, file_of, grey16, halves, png, text_of
from trtbuild.resources import template_dir


@pytest.fixture(scope="module")
def images() -> Iterator[Any]:
    """The module, imported from its directory as a model.py imports it."""
    folder = str(template_dir("shared"))
    sys.path.insert(0, folder)
    try:
        import request_images

        yield request_images
    finally:
        sys.path.remove(folder)


def seen(images: Any, data: bytes) -> list[tuple[int, ...]]:
    """The pixels in the middle of the left and of the right half."""
    picture = images.rgb(data)
    assert picture.mode == "RGB"
    width, height = picture.size
    return [picture.getpixel((width * part // 4, height // 2)) for part in (1, 3)]


def near(found: list[tuple[int, ...]], wanted: list[tuple[int, ...]]) -> bool:
    return all(
        abs(a - b) < 60 for one, two in zip(found, wanted, strict=True)
        for a, b in zip(one, two, strict=True)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}), ("JPEG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}),
        ("GIF", {}), ("PPM", {}), ("JPEG", {"progressive": True}),
    ],
)  # fmt: skip
def test_every_usual_format_is_read(images: Any, kind: str, options: dict[str, Any]) -> None:
    assert near(seen(images, file_of(halves(), kind, **options)), [RED, GREEN])


def test_cmyk_is_converted(images: Any) -> None:
    assert near(seen(images, file_of(halves().convert("CMYK"), "JPEG")), [RED, GREEN])


def test_a_photograph_is_turned_as_exif_says(images: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise
    upright = halves().transpose(Image.Transpose.ROTATE_90)
    assert upright.size == (16, 32)
    data = file_of(upright, "JPEG", exif=exif)
    assert images.rgb(data).size == (32, 16)
    assert near(seen(images, data), [RED, GREEN])


def test_damaged_exif_is_ignored(images: Any) -> None:
    data = file_of(halves(), "JPEG", exif=b"Exif\0\0II*\0" + b"\xff" * 12)
    assert near(seen(images, data), [RED, GREEN])


def test_16_bits_a_pixel_keep_their_shade(images: Any) -> None:
    picture = images.rgb(grey16([0, 0x4000, 0x8000, 0xFFFF]))
    assert [picture.getpixel((x, 0))[0] for x in range(4)] == [0, 64, 128, 255]


def test_transparency_is_white(images: Any) -> None:
    clear = halves().convert("RGBA")
    clear.paste((0, 0, 0, 0), (16, 0, 32, 16))
    assert seen(images, file_of(clear)) == [RED, (255, 255, 255)]
    palette = halves().quantize(4)
    data = file_of(palette, transparency=palette.getpixel((0, 0)))
    assert seen(images, data)[0] == (255, 255, 255)


def test_the_first_frame_of_an_animation_counts(images: Any) -> None:
    later = [Image.new("RGB", (32, 16), (0, 0, 255))] * 3
    data = file_of(halves(), "GIF", save_all=True, append_images=later, duration=50)
    assert near(seen(images, data), [RED, GREEN])


def test_base64_may_be_wrapped_and_come_as_a_data_url(images: Any) -> None:
    text = text_of(file_of(halves()))
    wrapped = "\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    values = [text, text.encode(), wrapped, f"data:image/png;base64,{text}"]
    assert [picture.size for picture in images.pictures(values)] == [(32, 16)] * 4


def truncated() -> bytes:
    data = file_of(Image.effect_noise((64, 64), 90), "JPEG")
    return data[: len(data) // 2]


REFUSED: dict[str, tuple[Any, str]] = {
    "nothing": (b"", "'image' is empty"),
    "text": (text_of(b"hello"), "'image' is not a readable picture: send PNG, JPEG"),
    "svg": (text_of(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "not a readable picture"),
    "postscript": (text_of(b"%!PS-Adobe-3.0 EPSF-3.0\n"), "not a readable picture"),
    "cut short": (text_of(truncated()), "not a readable picture: image file is truncated"),
    "cut header": (text_of(file_of(halves())[:20]), "not a readable picture"),
    "wrong length": (text_of(png(64, 64, 8, 2, b"")), "not a readable picture"),
    "no base64": ("####", "'image' is not valid base64"),
    "half base64": ("abcde", "'image' is not valid base64"),
    "not ASCII": ("\u00e9\u00e9", "'image' is not valid base64"),
    "an address": ("https://example.org/a.png", "is an address: send the file itself"),
    "a bare data URL": ("data:image/png,abc", "is a data URL without ';base64,'"),
    "floats": (text_of(file_of(Image.new("F", (2, 2)), "TIFF")), "has 32-bit pixels"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused_with_its_reason(images: Any, name: str) -> None:
    value, message = REFUSED[name]
    with pytest.raises(images.ImageError) as refused:
        images.pictures([value])
    assert message in str(refused.value)
    assert isinstance(refused.value, ValueError)


def test_a_bomb_is_refused_by_its_header(images: Any) -> None:
    """A real one of 77 megapixels, and sizes that only a header claims."""
    tracemalloc.start()
    for data in (bomb(8_800), png(60_000, 60_000, 8, 2, b""), png(2**31 - 1, 1, 8, 2, b"")):
        with pytest.raises(images.ImageError, match=r"pixels"):
            images.rgb(data)
    assert tracemalloc.get_traced_memory()[1] < 50 << 20
    tracemalloc.stop()


def test_a_file_of_50_mb_is_refused_before_it_is_decoded(images: Any) -> None:
    with pytest.raises(images.ImageError, match=r"has 5\d\.\d MiB; an image may have 32 MiB"):
        images.pictures([b"A" * (70 << 20)])
    with pytest.raises(images.ImageError, match="may have 32 MiB"):
        images.rgb(bytes(33 << 20))


def test_several_images_are_numbered_and_limited_together(images: Any) -> None:
    good = text_of(file_of(halves()))
    with pytest.raises(images.ImageError, match="'image' 2 of 3 is empty"):
        images.pictures([good, "", good])
    with pytest.raises(images.ImageError, match="has 65 images; a request may have 64"):
        images.pictures([good] * 65)
    tight = images.Limits(total_pixels=1000)
    with pytest.raises(images.ImageError, match="more than 1000 pixels together"):
        images.pictures([good, good], tight)
