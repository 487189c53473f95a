"""Measured response curves of deformable image registration as benchmark problems."""

from ._problem import Problem

__all__ = ["Problem"]
