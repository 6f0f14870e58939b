"""Making timm models: names checked, image sizes passed to the architectures built for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import timm
from torch import Tensor, nn

from mlfd_tune.core.errors import nearest
from mlfd_tune.core.models.errors import ModelChoiceError

__all__ = ["TimmModel", "check_arch", "classifiers", "create_timm_model"]

if TYPE_CHECKING:

    class TimmModel(nn.Module):
        """What is used of a timm model; no class of timm's says so."""

        feature_info: Any

        def forward_features(self, x: Tensor) -> Tensor:
            """Return a map or tokens."""

        def forward_intermediates(
            self, x: Tensor, indices: list[int] | None = None, *, norm: bool = False
        ) -> tuple[Tensor, list[Tensor]]:
            """Return what `forward_features` does, and maps ``(N, C, H, W)``."""

        def forward_head(self, x: Tensor) -> Tensor:
            """Return the logits of what `forward_features` gave."""

        def get_classifier(self) -> nn.Module | tuple[nn.Module, ...]:
            """Return the last layer, or two of them."""

else:
    TimmModel = nn.Module


def check_arch(arch: str) -> None:
    """Raise unless timm knows `arch` (a name, or a name and the tag of its weights).

    Raises:
        ModelChoiceError: With the nearest name of ``timm.list_models()``.
    """
    if not isinstance(arch, str):  # straight from YAML, where anything may stand
        raise ModelChoiceError(f"an architecture is the name of a timm model, not {arch!r}")
    name, _, tag = arch.partition(".")
    if not timm.is_model(name):
        models = timm.list_models()
        raise ModelChoiceError(f"unknown architecture {name!r} {_hint(name, models)}")
    if tag and arch not in timm.list_pretrained(f"{name}.*"):
        tagged = timm.list_pretrained(f"{name}.*")
        raise ModelChoiceError(
            f"architecture {name!r} has no weights {tag!r} {_hint(arch, tagged)}"
        )


def create_timm_model(
    arch: str,
    num_classes: int,
    image_size: int,
    *,
    drop_path_rate: float = 0.0,
    pretrained: bool = False,
) -> TimmModel:
    """Return the timm model `arch` for square images of `image_size` pixels, without dropout.

    Raises:
        ModelChoiceError: When the name is unknown, the image size does not suit the architecture,
            or it has no stochastic depth and `drop_path_rate` is not 0.
    """
    check_arch(arch)
    settings: dict[str, Any] = {"num_classes": num_classes, "drop_rate": 0.0}
    if drop_path_rate:
        settings["drop_path_rate"] = drop_path_rate
    config = timm.get_pretrained_cfg(arch)
    if config is not None and config.fixed_input_size:
        # ViT-like, Swin, MaxViT ...: position tables and windows are made for one size.
        settings["img_size"] = image_size
    try:
        model = timm.create_model(arch, pretrained=pretrained, **settings)
    except TypeError as error:
        if drop_path_rate and "drop_path_rate" in str(error):
            raise ModelChoiceError(
                f"architecture {arch!r} has no stochastic depth: "
                f"drop_path_rate is {drop_path_rate} (allowed: 0)"
            ) from error
        raise ModelChoiceError(f"architecture {arch!r} is no image classifier: {error}") from error
    except (AssertionError, ValueError) as error:
        raise ModelChoiceError(_unsuitable(arch, image_size, error)) from error
    return cast(TimmModel, model)


def classifiers(model: TimmModel) -> tuple[nn.Module, ...]:
    """Return the model's last layers: one, or two in models with a distillation token."""
    found = model.get_classifier()
    return (found,) if isinstance(found, nn.Module) else tuple(found)


def _unsuitable(arch: str, image_size: int, error: Exception) -> str:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return f"architecture {arch!r} does not take images of {image_size} px: {reason}"


def _hint(name: str, models: list[str]) -> str:
    match = nearest(name, models)
    hint = f"; did you mean {match!r}?" if match else ""
    return f"(allowed: {len(models)} names{hint})"
