"""Hyperparameter and ablation platform for Multi-Level Feature Distillation (arXiv 2410.22184)."""

__version__ = "0.1.0"

__all__ = ["__version__"]
