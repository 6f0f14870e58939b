"""Letters A-Z drawn from the fonts matplotlib ships, split by font.

Clean renders are too easy (a forest on raw pixels reads them all), so every letter is rotated,
sheared, scaled, shifted, blurred, noised, and drawn in colours of little contrast.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from mlfd_tune.core.data.raw import RawDataset, RawSplit
from mlfd_tune.core.data.source import DatasetSource, Fingerprint
from mlfd_tune.core.errors import UserError

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["Letters"]

VERSION = 1
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
IMAGES_PER_CLASS = {"train": 100, "test": 30}

# Fonts that hold the Latin capitals; matplotlib's other fonts are for symbols. The test fonts are
# unseen cuts and, with Computer Modern sans and STIX bold italic, unseen shapes.
FONTS = {
    "train": (
        "DejaVuSans",
        "DejaVuSans-Oblique",
        "DejaVuSans-BoldOblique",
        "DejaVuSansMono",
        "DejaVuSansMono-Bold",
        "DejaVuSansMono-BoldOblique",
        "DejaVuSerif",
        "DejaVuSerif-Bold",
        "DejaVuSerif-BoldItalic",
        "STIXGeneral",
        "STIXGeneralBol",
        "STIXGeneralItalic",
        "cmb10",
        "cmmi10",
        "cmr10",
        "cmtt10",
    ),
    "test": (
        "DejaVuSans-Bold",
        "DejaVuSansMono-Oblique",
        "DejaVuSerif-Italic",
        "STIXGeneralBolIta",
        "cmss10",
        "cmti10",
    ),
}

# Set so that timm's `test_resnet` reaches about 90 % at 32 px in ten epochs, 84 % in twenty with
# half of the images. Paper is always lighter than ink: with any colours for both, the same net
# stayed at chance.
CANVAS = 48  # side of a drawn image, pixels
GLYPH = 34  # font size before scaling, pixels
MAX_ROTATION = 20.0  # degrees
MAX_SHEAR = 0.2
SCALES = (0.7, 1.15)
MAX_SHIFT = 5.0  # pixels
MAX_BLUR = 1.8  # radius, pixels
NOISE = (5.0, 30.0)  # standard deviation, grey levels
PAPER = (135.0, 255.0)  # each channel, grey levels
CONTRAST = (45.0, 170.0)  # how much darker the ink is, grey levels
TINT = 30.0  # how far each channel of the ink strays from that


class Letters(DatasetSource):
    """The letters A-Z; the fonts of the test split are never seen in training."""

    name = "letters"
    description = "letters A-Z from matplotlib's fonts, distorted; test fonts unseen in training"
    flip = False

    def fingerprint(self, spec: DatasetSpec) -> Fingerprint:
        """Return the version of this file, the hash of the fonts, and what draws them."""
        content = hashlib.sha256()
        for font in (*FONTS["train"], *FONTS["test"]):
            content.update(_font_file(font).read_bytes())
        return {
            "source": self.name,
            "version": VERSION,
            "sha256": content.hexdigest(),
            "pillow": PIL.__version__,  # renders the glyphs
            "numpy": np.__version__,  # its generators may change between versions
        }

    def load(self, spec: DatasetSpec) -> RawDataset:
        """Return the train and test splits; letters are drawn on demand, each always the same."""
        return RawDataset(tuple(ALPHABET), {name: _split(name) for name in FONTS})


def _split(name: str) -> RawSplit:
    fonts = [_font_file(font) for font in FONTS[name]]
    count = IMAGES_PER_CLASS[name] * len(ALPHABET)
    labels = np.arange(count, dtype=np.int64) % len(ALPHABET)

    def draw(index: int) -> Image.Image:
        copy, label = divmod(index, len(ALPHABET))
        # One generator an image, so that any image can be drawn without the ones before it.
        rng = np.random.default_rng([VERSION, list(FONTS).index(name), index])
        return _draw(ALPHABET[label], fonts[copy % len(fonts)], rng)

    names = (f"{name}/{ALPHABET[label]}/{index:04d}" for index, label in enumerate(labels))
    return RawSplit(labels, tuple(names), draw)


def _draw(letter: str, font: Path, rng: np.random.Generator) -> Image.Image:
    """Draw one letter: ink over paper through a distorted, blurred mask, then noise."""
    mask = _distorted(_glyph(letter, font), rng)
    mask = mask.filter(ImageFilter.GaussianBlur(rng.uniform(0, MAX_BLUR)))
    cover = np.asarray(mask, dtype=np.float64)[:, :, None] / 255
    paper, ink = _colours(rng)
    picture = paper * (1 - cover) + ink * cover
    picture += rng.normal(scale=rng.uniform(*NOISE), size=picture.shape)
    return Image.fromarray(np.clip(np.rint(picture), 0, 255).astype(np.uint8))


def _glyph(letter: str, font: Path) -> Image.Image:
    mask = Image.new("L", (CANVAS, CANVAS))
    middle = (CANVAS / 2, CANVAS / 2)
    ImageDraw.Draw(mask).text(
        middle, letter, fill=255, font=ImageFont.truetype(font, GLYPH), anchor="mm"
    )
    return mask


def _distorted(mask: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Rotate, shear, scale and shift about the middle of the canvas."""
    angle = np.deg2rad(rng.uniform(-MAX_ROTATION, MAX_ROTATION))
    shear = rng.uniform(-MAX_SHEAR, MAX_SHEAR)
    scale = rng.uniform(*SCALES)
    shift = rng.uniform(-MAX_SHIFT, MAX_SHIFT, size=2)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # Pillow wants the map from output to input.
    inverse = np.linalg.inv(scale * rotation @ np.array([[1, shear], [0, 1]]))
    middle = np.full(2, CANVAS / 2)
    offset = middle - inverse @ (middle + shift)
    matrix = (*inverse[0], offset[0], *inverse[1], offset[1])
    return mask.transform(mask.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)


def _colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours of paper and ink, (3,) each in 0-255."""
    paper = rng.uniform(*PAPER, size=3)
    ink = paper - rng.uniform(*CONTRAST) + rng.uniform(-TINT, TINT, size=3)
    return paper, np.clip(ink, 0, 255)


def _font_file(font: str) -> Path:
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    if not path.is_file():
        raise UserError(f"dataset 'letters': matplotlib's font {path} is missing; reinstall it")
    return path
