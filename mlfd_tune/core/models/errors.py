"""The error for a model setting that cannot be."""

from __future__ import annotations

from mlfd_tune.core.errors import UserError

__all__ = ["ModelChoiceError"]


class ModelChoiceError(UserError, ValueError):
    """An architecture, level or adaptor that does not exist or does not fit.

    It is a `ValueError` too, so that a pydantic validator that meets it collects it with the
    file's other errors.
    """
