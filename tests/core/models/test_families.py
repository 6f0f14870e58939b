"""Every family of timm: its levels as documented, real passes of many kinds, and refusals."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import timm
import torch

from mlfd_tune.core.models import LEVELS, Backbone, ModelChoiceError, level_shapes
from mlfd_tune.core.models.families import FAMILIES, OUTSIDERS, examine, examples, render
from mlfd_tune.core.models.levels import map_size

COMMITTED = Path(__file__).parents[3] / "docs" / "backbones.md"
DOCUMENTED = COMMITTED.read_text(encoding="utf-8")
ROWS = {line.split(" | ")[1]: line for line in DOCUMENTED.splitlines() if line.startswith("| ")}
EXAMPLES = list(examples())
UNUSABLE = {"gemma4_vit": "gemma4_vit_167m"}

documented_timm = pytest.mark.skipif(
    f"with timm {timm.__version__}." not in DOCUMENTED,
    reason="docs/backbones.md is of another version of timm",
)


def test_every_family_of_timm_has_an_example() -> None:
    assert [family for family, _ in EXAMPLES] == timm.list_modules()
    assert all(arch in timm.list_models(module=family) for family, arch in EXAMPLES)


@documented_timm
def test_every_example_is_chosen_and_at_least_60_families_can_be_used() -> None:
    assert dict(EXAMPLES) == FAMILIES
    assert len(FAMILIES.keys() - UNUSABLE.keys()) >= 60


@documented_timm
@pytest.mark.parametrize(("family", "arch"), EXAMPLES)
def test_a_familys_levels_are_as_documented(family: str, arch: str) -> None:
    example = examine(family, arch)
    row = ROWS[f"`{arch}`"]
    if example.plan is None:
        assert family in UNUSABLE
        assert row == f"| {family} | `{arch}` | {example.reason} |"
        return
    shapes = example.plan.shapes
    cells = [" x ".join(map(str, shapes.get(level, ()))) for level in LEVELS]
    found = f"by {example.plan.found}"
    assert row == f"| {' | '.join([family, f'`{arch}`', str(example.image_size), *cells, found])} |"
    for level in LEVELS[1:]:
        side = math.ceil(example.image_size / int(level.removeprefix("stride")))
        assert level not in shapes or shapes[level][1:] == (side, side)


@documented_timm
@pytest.mark.slow
def test_the_committed_tables_are_up_to_date() -> None:
    again = "run: python -m mlfd_tune.core.models.families docs/backbones.md"
    assert render() == DOCUMENTED, again


@pytest.mark.parametrize(
    ("arch", "size"),
    [
        ("repvgg_a0", 64),
        ("vit_tiny_patch16_224", 64),
        ("eva02_tiny_patch14_224", 56),  # patches of 14 px
        ("deit_tiny_distilled_patch16_224", 64),  # two tokens, two classifiers
        ("vit_tiny_r_s16_p8_224", 64),  # convolutions, then blocks of stride 32
        ("cait_xxs24_224", 64),  # class attention
        ("xcit_nano_12_p8_224", 64),  # blocks of stride 8
        ("mixer_s16_224", 64),
        ("pit_ti_224", 64),  # a stem without padding
        ("coat_tiny", 64),  # ends in a list of tokens
        ("crossvit_tiny_240", 240),  # two branches, a classifier each
        ("efficientvim_m1", 64),  # ends in a list of maps, a classifier each
        ("levit_128s", 64),  # a norm before each of two classifiers
        ("mambaout_femto", 64),  # (N, H, W, C)
        ("sequencer2d_s", 56),  # its classifier pools a map
        ("hieradet_small", 64),  # stops early unless told not to
        ("swinv2_cr_tiny_224", 64),  # made for one size
    ],
)
def test_a_real_pass_gives_the_promised_shapes_and_timms_own_logits(arch: str, size: int) -> None:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        backbone = Backbone(arch, 5, size).eval()
        torch.manual_seed(1)
        img_size = {"img_size": size} if timm.get_pretrained_cfg(arch).fixed_input_size else {}
        expected = timm.create_model(arch, num_classes=5, **img_size).eval()(images)
        for level in backbone.level_shapes:
            logits, features = backbone(images, (level,))
            assert torch.equal(logits, expected), level
            assert tuple(features[level].shape[1:]) == level_shapes(arch, size)[level]
        logits, features = backbone(images, tuple(backbone.level_shapes))
    assert torch.equal(logits, expected)
    assert {level: tuple(x.shape[1:]) for level, x in features.items()} == backbone.level_shapes
    assert all(
        shape[1:] == (map_size(level, size),) * 2
        for level, shape in backbone.level_shapes.items()
        if level != "embedding"
    )


@pytest.mark.parametrize(
    ("arch", "reason"),
    [
        ("gemma4_vit_167m", "cannot read its levels at 768 px"),
        ("gemma4_vit_167m_enc", "is no image classifier"),
        ("deepseek_vit_412m_enc", "no get_classifier"),
        ("mobilenetv5_300m_enc", "no get_classifier"),
        ("qwen3_vit_88m_enc", "no get_classifier"),
        ("resnet50_clip", "its classifier takes (50, 2048), not a vector"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason_in_one_line(arch: str, reason: str) -> None:
    if not timm.is_model(arch):
        pytest.skip(f"this timm has no {arch}")
    size = timm.get_pretrained_cfg(arch).input_size[-1]
    for attempt in (lambda: level_shapes(arch, size), lambda: Backbone(arch, 5, size)):
        with pytest.raises(ModelChoiceError) as raised:
            attempt()
        assert f"architecture {arch!r}" in str(raised.value)
        assert reason in str(raised.value)
        assert "\n" not in str(raised.value)


def test_every_outsider_is_refused() -> None:
    present = {family: arch for family, arch in OUTSIDERS.items() if timm.is_model(arch)}
    assert all(examine(family, arch).reason for family, arch in present.items())
