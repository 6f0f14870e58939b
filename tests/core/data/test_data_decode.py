from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mlfd_tune.core.data.decode import to_rgb, to_square


def reopened(image: Image.Image, format: str, **options) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return Image.open(io.BytesIO(buffer.getvalue()))


def colour(image: Image.Image) -> tuple[int, ...]:
    assert image.mode == "RGB"
    return image.getpixel((0, 0))


def test_grey_becomes_three_equal_channels():
    assert colour(to_rgb(Image.new("L", (4, 4), 77))) == (77, 77, 77)
    assert colour(to_rgb(Image.new("1", (4, 4), 1))) == (255, 255, 255)


def test_transparency_is_laid_over_white():
    assert colour(to_rgb(Image.new("RGBA", (4, 4), (200, 0, 0, 0)))) == (255, 255, 255)
    assert colour(to_rgb(Image.new("RGBA", (4, 4), (200, 0, 0, 255)))) == (200, 0, 0)
    assert colour(to_rgb(Image.new("LA", (4, 4), (0, 0)))) == (255, 255, 255)


def test_a_palette_s_colours_and_its_transparent_entry_are_honoured():
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([9, 9, 9, 10, 20, 30])
    assert colour(to_rgb(reopened(palette, "PNG"))) == (10, 20, 30)
    assert colour(to_rgb(reopened(palette, "PNG", transparency=1))) == (255, 255, 255)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(format):
    deep = Image.fromarray(np.full((4, 4), 128 * 257, dtype=np.uint16))
    assert colour(to_rgb(reopened(deep, format))) == (128, 128, 128)


def test_float_images_count_as_0_to_1_if_they_stay_inside_it():
    assert colour(to_rgb(Image.new("F", (4, 4), 0.5))) == (128, 128, 128)
    assert colour(to_rgb(Image.new("F", (4, 4), 99.0))) == (99, 99, 99)


def test_cmyk_becomes_rgb_through_jpeg_too():
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    red, green, blue = colour(to_rgb(reopened(cyan, "JPEG")))
    assert red < 20
    assert min(green, blue) > 235


def test_the_exif_orientation_is_applied():
    image = Image.new("RGB", (8, 2))
    exif = image.getexif()
    exif[0x0112] = 6  # rotated by a quarter
    assert to_rgb(reopened(image, "JPEG", exif=exif)).size == (2, 8)


def test_the_whole_picture_goes_into_the_square_antialiased():
    stripes = np.zeros((64, 128, 3), dtype=np.uint8)
    stripes[:, ::2] = 255  # as fine as pixels get: only averaging gives grey
    square = to_square(Image.fromarray(stripes), 16)
    assert square.shape == (3, 16, 16)
    assert square.dtype == np.uint8
    assert np.abs(square[:, :, 2:-2].astype(int) - 127).max() < 20


def test_nothing_is_cropped_off_the_sides():
    wide = np.zeros((10, 100, 3), dtype=np.uint8)
    wide[:, :30] = (255, 0, 0)
    wide[:, -30:] = (0, 0, 255)
    square = to_square(Image.fromarray(wide), 10)
    assert square[0, 5, 0] == 255
    assert square[2, 5, 9] == 255
