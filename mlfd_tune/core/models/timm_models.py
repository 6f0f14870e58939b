"""Making timm models: names checked, image sizes passed to the architectures built for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import timm
from torch import Tensor, nn

from mlfd_tune.core.errors import nearest
from mlfd_tune.core.models.errors import ModelChoiceError

__all__ = [
    "TimmModel",
    "check_arch",
    "class_layers",
    "classifiers",
    "create_timm_model",
    "default_image_size",
    "reason_of",
]

if TYPE_CHECKING:

    class TimmModel(nn.Module):
        """What is used of a timm model; no class of timm's says so."""

        feature_info: Any

        def forward_features(self, x: Tensor) -> Tensor | list[Tensor]:
            """Return a map or tokens, or a list of them."""

        def forward_intermediates(
            self,
            x: Tensor,
            indices: list[int] | None = None,
            *,
            norm: bool = False,
            stop_early: bool,
        ) -> tuple[Tensor | list[Tensor], list[Tensor]]:
            """Return maps ``(N, C, H, W)``, after what `forward_features` does.

            That is only so without `stop_early`; its default differs between families.
            """

        def forward_head(self, x: Tensor | list[Tensor]) -> Tensor:
            """Return the logits of what `forward_features` gave."""

        def get_classifier(self) -> nn.Module | tuple[nn.Module, ...]:
            """Return the last layer or block, a list of them, or two of either."""

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
        raise ModelChoiceError(
            f"architecture {arch!r} does not take images of {image_size} px "
            f"({reason_of(error, arch, image_size)})"
        ) from error
    return cast(TimmModel, model)


def classifiers(model: TimmModel) -> tuple[nn.Module, ...]:
    """Return the layers that give the logits: one, or several whose logits are averaged.

    There are several in models with a distillation token and in those that classify each branch.
    They are the last layers themselves, without the norm, hidden layer or pooling that some
    families wrap them in.
    """
    layers = class_layers(model).values()
    inside = {module for block in _classifier_blocks(model) for module in block.modules()}
    return tuple(layer for layer in layers if layer in inside)


def class_layers(model: TimmModel) -> dict[str, nn.Module]:
    """Return by its name every layer whose weights depend on the number of classes.

    timm names them in the model's configuration, which its own fine-tuning goes by. Beside the
    `classifiers` there may be auxiliary ones.
    """
    named = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    named = (named,) if isinstance(named, str) else named
    names = {module: name for name, module in model.named_modules()}
    layers = {name: module for module, name in names.items() if name in named}
    for block in _classifier_blocks(model):
        if not any(layer in layers.values() for layer in block.modules()):
            layers[names[block]] = block
    return layers


def _classifier_blocks(model: TimmModel) -> Iterator[nn.Module]:
    found = model.get_classifier()
    for block in (found,) if isinstance(found, nn.Module) else found:
        if isinstance(block, nn.ModuleList):
            yield from block
        else:
            yield block


def default_image_size(arch: str) -> int:
    """Return the side in pixels of the images timm's weights of `arch` were trained on."""
    config = timm.get_pretrained_cfg(arch)
    return 224 if config is None else int(config.input_size[-1])


def reason_of(error: Exception, arch: str, image_size: int) -> str:
    """Return in one line what timm's code says, and the image size an architecture is made for."""
    reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    made_for = default_image_size(arch)
    return reason if made_for == image_size else f"{reason}; it is made for {made_for} px"


def _hint(name: str, models: list[str]) -> str:
    match = nearest(name, models)
    hint = f"; did you mean {match!r}?" if match else ""
    return f"(allowed: {len(models)} names{hint})"
