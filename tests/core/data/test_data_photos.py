from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlfd_tune.core.data.photos import TILES, TRAIN_SHARE, tile_boxes


@given(width=st.integers(100, 700), height=st.integers(100, 700))
def test_no_two_tiles_of_a_picture_share_a_pixel(width, height):
    boxes = tile_boxes(width, height)
    covered = np.zeros((height, width), dtype=int)
    for left, top, right, bottom in boxes["train"] + boxes["test"]:
        covered[top:bottom, left:right] += 1
    assert covered.max() == 1


@given(width=st.integers(100, 700), height=st.integers(100, 700))
def test_training_tiles_lie_left_of_the_border_and_test_tiles_right_of_it(width, height):
    boxes = tile_boxes(width, height)
    assert {name: len(found) for name, found in boxes.items()} == TILES
    border = int(width * TRAIN_SHARE)
    assert all(right <= border for _, _, right, _ in boxes["train"])
    assert all(border <= left for left, _, _, _ in boxes["test"])
    assert all(right <= width and bottom <= height for _, _, right, bottom in boxes["test"])
