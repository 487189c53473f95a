"""Speed and scale, as ratios, side by side: `python -m benchmarks` runs every row (see `benchmarks.rows`)."""
