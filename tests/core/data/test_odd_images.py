"""Pictures as people, cameras and attackers make them: the right pixels, or one line of why not."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mlfd_tune.core.data import DatasetSpec, check_dataset, load_dataset
from mlfd_tune.core.data.decode import MAX_PIXELS, UnreadableImageError, read_image
from mlfd_tune.core.data.image_files import open_file
from mlfd_tune.core.data.packed import pack
from mlfd_tune.core.errors import UserError
from tests.helpers.fuzzing import attempt

RED, BLUE = (230, 20, 40), (10, 40, 220)


def scene(width: int = 8, height: int = 4) -> NDArray[np.uint8]:
    """Return an upright picture, blue with a red upper left corner, (height, width, 3)."""
    picture = np.full((height, width, 3), BLUE, dtype=np.uint8)
    picture[: height // 2, : width // 2] = RED
    return picture


def read(path: Path) -> NDArray[np.uint8]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return np.asarray(open_file(path.parent, path.name))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """Return a PNG put together by hand; every row begins with its filter, 0."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + body + chunk(b"IEND", b"")


def test_16_bit_grey_is_scaled_and_not_cut_off(tmp_path: Path) -> None:
    values = np.array([[0, 256, 32768, 65535]], dtype=">u2")
    (tmp_path / "a.png").write_bytes(png(4, 1, 16, 0, b"\0" + values.tobytes()))
    expected = np.rint(values.astype(float) / 65535 * 255)
    np.testing.assert_array_equal(read(tmp_path / "a.png")[..., 0], expected)


def test_16_bit_colour_gives_its_upper_8_bits(tmp_path: Path) -> None:
    values = np.array([[[0x1234, 0x80FF, 0xFFFF], [0, 0x00FF, 0x0100]]], dtype=">u2")
    (tmp_path / "a.png").write_bytes(png(2, 1, 16, 2, b"\0" + values.tobytes()))
    np.testing.assert_array_equal(read(tmp_path / "a.png"), values >> 8)


@pytest.mark.parametrize("space", ["CMYK", "YCCK"])
def test_jpegs_for_print_have_the_right_colours(tmp_path: Path, space: str) -> None:
    ink = np.array([0.0, 200, 180, 30])  # cyan, magenta, yellow, black: a red
    # Adobe's programs and Pillow store 255 minus the ink, Pillow when it saves. In YCCK the first
    # three are stored as luminance and two colours, of which Pillow knows nothing when it saves.
    luminance = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    given = ink
    if space == "YCCK":
        given = np.array([*(255 - (luminance @ ink[:3] + [0, 128, 128])), ink[3]])
    pixels = np.broadcast_to(np.rint(given).astype(np.uint8), (16, 16, 4))
    content = bytearray(saved(Image.fromarray(np.ascontiguousarray(pixels), "CMYK"), "JPEG"))
    content[content.index(b"Adobe") + 11] = 2 if space == "YCCK" else 0
    (tmp_path / "a.jpg").write_bytes(content)
    expected = 255 * (1 - ink[:3] / 255) * (1 - ink[3] / 255)
    assert np.abs(read(tmp_path / "a.jpg")[8, 8] - expected).max() <= 5


TURNS: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    # How an upright picture must lie in the file for each orientation (EXIF 2.3, tag 274).
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[::-1],
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("orientation", TURNS)
def test_a_camera_held_in_any_way_gives_an_upright_picture(
    tmp_path: Path, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(TURNS[orientation](scene()))
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "a.png"), scene())


def test_palettes_with_transparency_lie_on_white(tmp_path: Path) -> None:
    palette, see_through = chunk(b"PLTE", bytes((*RED, *BLUE))), chunk(b"tRNS", b"\xff\x80")
    (tmp_path / "a.png").write_bytes(png(2, 1, 8, 3, b"\0\0\1", palette, see_through))
    alpha = 0x80 / 255
    mixed = np.rint(np.array(BLUE) * alpha + 255 * (1 - alpha))
    np.testing.assert_allclose(read(tmp_path / "a.png")[0], [RED, mixed], atol=1)


def test_grey_with_transparency_and_one_bit_pictures(tmp_path: Path) -> None:
    (tmp_path / "la.png").write_bytes(png(2, 1, 8, 4, b"\0" + bytes((100, 255, 100, 0))))
    np.testing.assert_array_equal(read(tmp_path / "la.png")[0, :, 0], [100, 255])
    (tmp_path / "1.png").write_bytes(png(8, 1, 1, 0, b"\0" + bytes((0b10100000,))))
    np.testing.assert_array_equal(read(tmp_path / "1.png")[0, :4, 1], [255, 0, 255, 0])


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_and_pages_give_their_first(tmp_path: Path, kind: str) -> None:
    first = Image.new("RGB", (8, 4), RED)
    others = [Image.new("RGB", (8, 4), (0, shade, 0)) for shade in range(1, 200)]
    options = {"lossless": True} if kind == "WEBP" else {}
    first.save(tmp_path / "a", kind, save_all=True, append_images=others, **options)
    np.testing.assert_array_equal(read(tmp_path / "a"), np.full((4, 8, 3), RED))


@pytest.mark.parametrize(("name", "kind"), [("a.png", "JPEG"), ("a.jpg", "PNG"), ("a.txt", "BMP")])
def test_what_is_in_a_file_counts_and_not_its_ending(tmp_path: Path, name: str, kind: str) -> None:
    Image.fromarray(scene()).save(tmp_path / name, kind)
    assert np.abs(read(tmp_path / name)[0, -1].astype(int) - BLUE).max() < 12


@pytest.mark.parametrize("size", [(1, 100_000), (100_000, 1), (1, 1)])
def test_a_strip_of_pixels_is_packed_like_any_picture(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    root = dataset(tmp_path)
    Image.new("RGB", size, RED).save(root / "train/a/strip.png")
    spec = DatasetSpec(source="folder", path=str(root))
    assert check_dataset("x", spec).ok
    pack(load_dataset(spec), spec, 8, tmp_path / "out")


def dataset(tmp_path: Path) -> Path:
    """Write a folder of two classes with four pictures each."""
    root = tmp_path / "set"
    for name, colour in (("a", RED), ("b", BLUE)):
        (root / "train" / name).mkdir(parents=True)
        for number in range(4):
            shade = tuple(min(255, part + 5 * number) for part in colour)
            Image.new("RGB", (8, 8), shade).save(root / "train" / name / f"{number}.png")
    return root


def bomb(side: int) -> bytes:
    """Return a small PNG of `side` x `side` black pixels."""
    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    rows = b"".join([packer.compress(row) for _ in range(side)]) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """Return a picture with 20 MB of text in 20 KB."""
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b" " * 20_000_000))
    return png(1, 1, 8, 0, b"\0\0", text)


def saved(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


SVG = b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg' width='8' height='8'/>"
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(touched) (w) file\n%%EOF\n"
HUGE = png(2**31 - 1, 2**31 - 1, 8, 2, b"\0")
WIDE = f"P5 {MAX_PIXELS + 1} 1 255 ".encode()  # just one more than is read
NAN = np.array([[0.5, np.nan]], dtype=np.float32)

REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "a bomb of 20,000 x 20,000 pixels": (lambda: bomb(20_000), "has more than 178,956,970 pixels"),
    "a size that is only declared": (lambda: HUGE, "has more than 178,956,970 pixels"),
    "one pixel too many": (lambda: WIDE, "has more than 178,956,970 pixels"),
    "a bomb of text": (text_bomb, "is a damaged image: Decompressed data too large"),
    "nothing": (lambda: b"", "is an empty file, not an image"),
    "text": (lambda: b"not a picture", "is not an image that can be read (allowed: "),
    "half a picture": (lambda: saved(Image.fromarray(scene(64, 64)), "PNG")[:100], "is a damaged"),
    "SVG": (lambda: SVG, "is not an image that can be read"),
    "HEIC": (lambda: HEIC, "is not an image that can be read"),
    "PostScript": (lambda: EPS, "is a program that draws (EPS), which is not run"),
    "LAB": (lambda: saved(Image.new("LAB", (8, 8)), "TIFF"), "has its colours in LAB"),
    "no numbers": (
        lambda: saved(Image.fromarray(NAN), "TIFF"),
        "is a damaged image: some of its",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_named_by_the_check_and_by_packing(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    content, said = REFUSED[name]
    root = dataset(tmp_path)
    (root / "train/b/odd.png").write_bytes(content())
    spec = DatasetSpec(source="folder", path=str(root))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        (problem,) = check_dataset("x", spec).problems
        with pytest.raises(UserError) as raised:
            pack(load_dataset(spec), spec, 8, tmp_path / "out")

    assert problem == raised.value.problems[0]
    assert problem.startswith(f"train/b/odd.png in dataset folder {root} {said}")
    assert "\n" not in problem
    assert capfd.readouterr().err == ""


def test_a_library_that_lifts_the_limit_of_pillow_lifts_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    (tmp_path / "wide.pgm").write_bytes(WIDE)
    with pytest.raises(UnreadableImageError, match="has more than 178,956,970 pixels"):
        read_image(tmp_path / "wide.pgm")


def test_below_the_limit_a_large_picture_is_read_without_a_word(tmp_path: Path) -> None:
    side = 9_600  # Pillow warns from 9,460 on
    (tmp_path / "large.png").write_bytes(bomb(side))
    program = (
        "import sys; from pathlib import Path\n"
        "from mlfd_tune.core.data.image_files import open_file\n"
        "print(open_file(Path(sys.argv[1]), 'large.png').size)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"({side}, {side})"
    assert done.stderr == ""


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (os.mkfifo, "is a named pipe, not a file"),
        (link_to("nowhere.png"), "is a link that leads nowhere"),
        (link_to("odd.png"), "cannot be read: Too many levels of symbolic links"),
        (link_to("/dev/zero"), "is a device, not a file"),
        (link_to(__file__), "is not an image that can be read"),
    ],
)
def test_what_is_no_file_is_named_and_never_opened(
    tmp_path: Path, make: Callable[[Path], None], said: str
) -> None:
    root = dataset(tmp_path)
    make(root / "train/b/odd.png")
    found: list[str] = []
    spec = DatasetSpec(source="folder", path=str(root))
    attempt(lambda: found.extend(check_dataset("x", spec).problems), root)  # ends where it hangs
    (problem,) = found
    assert problem.startswith(f"train/b/odd.png in dataset folder {root} {said}")


def test_links_to_pictures_are_followed_wherever_they_lead(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    outside = tmp_path / "elsewhere.png"
    Image.fromarray(scene()).save(outside)
    (root / "train/a/out.png").symlink_to(outside)
    (root / "train/a/in.png").symlink_to("0.png")
    (root / "test").symlink_to("train")
    report = check_dataset("x", DatasetSpec(source="folder", path=str(root)))
    assert report.ok
    np.testing.assert_array_equal(read(root / "train/a/out.png"), scene())
    assert any("train/a/in.png is train/a/0.png" in note for note in report.warnings)


@pytest.mark.parametrize("name", ["a\nb.png", "\x1b[2J.png", "b\u202egnp.exe", "\udcff.png"])
def test_names_that_are_no_text_are_named_in_one_line(tmp_path: Path, name: str) -> None:
    root = dataset(tmp_path)
    (root / "train/a/0.png").rename(root / "train/a" / name)
    (problem,) = check_dataset("x", DatasetSpec(source="folder", path=str(root))).problems
    assert "has a name with characters that are no text" in problem


def test_a_class_named_so_is_named_too(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    (root / "train/a").rename(root / "train/a\nerror: all is well")
    with pytest.raises(UserError) as raised:
        load_dataset(DatasetSpec(source="folder", path=str(root)))
    (problem,) = raised.value.problems
    assert "has a name with characters that are no text" in problem
    assert "\n" not in problem
