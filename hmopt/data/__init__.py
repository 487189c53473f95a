"""Cohorts: where their images are, how they are prepared, split and paired. Without torch."""
