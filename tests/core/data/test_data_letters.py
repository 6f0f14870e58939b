from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mlfd_tune.core.data.letters import ALPHABET, FONTS, _font_file


def test_no_font_is_in_both_splits():
    assert not set(FONTS["train"]) & set(FONTS["test"])


def test_every_font_draws_26_different_letters():
    for font in (*FONTS["train"], *FONTS["test"]):
        face = ImageFont.truetype(_font_file(font), 32)
        drawn = set()
        for letter in ALPHABET:
            image = Image.new("L", (48, 48))
            ImageDraw.Draw(image).text((24, 24), letter, fill=255, font=face, anchor="mm")
            assert np.asarray(image).mean() > 3, f"{font} draws no {letter}"
            drawn.add(image.tobytes())
        assert len(drawn) == len(ALPHABET), font
