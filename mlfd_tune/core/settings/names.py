"""Names that settings take, checked against what there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.losses import FEATURE_LOSSES
from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.models import ADAPTORS, check_arch, parse_levels

__all__ = ["Adaptor", "Arch", "FeatureLossName", "Levels", "MethodName"]


def _checked(check: Callable[[Any], Any]) -> BeforeValidator:
    """Return a validator that gives what `check` gives."""

    def validate(value: Any) -> Any:
        # pydantic collects ValueErrors of all fields; UserError is for code outside a schema.
        try:
            return check(value)
        except UserError as error:
            raise ValueError(str(error)) from None

    return BeforeValidator(validate)


def _known(check: Callable[[Any], object]) -> BeforeValidator:
    """Return a validator that gives the name itself once `check` has taken it."""

    def same(value: Any) -> Any:
        check(value)
        return value

    return _checked(same)


Arch = Annotated[str, _known(check_arch)]
Levels = Annotated[tuple[str, ...], _checked(parse_levels)]
Adaptor = Annotated[str, _known(ADAPTORS.require)]
FeatureLossName = Annotated[str, _known(FEATURE_LOSSES.require)]
MethodName = Annotated[str, _known(METHODS.require)]
