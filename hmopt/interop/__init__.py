"""Models and fields of other programs."""
