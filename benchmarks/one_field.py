"""How much of the gain of structures one field has, by what tells where structures are and by its smoothing.

    python benchmarks/one_field.py COPY_OF_A_STUDY [--widths 1 2 4] [--maps frequency fixed moving]

The folder was trained and searched. Use a copy: its `composed.json` holds the last width afterwards.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

import hmopt


def measure(folder: Path, maps: Sequence[str], widths: Sequence[float]) -> pd.DataFrame:
    """Return a row for each kind of maps and width; what was measured already is not measured again."""
    rows = []
    for width in widths:
        found = hmopt.search(folder, per_structure=True, maps=maps, map_width=width)
        for gain in found.composed:
            one = gain.over_common.mean.estimate
            separate = gain.separate_over_common.mean.estimate
            row = {
                "maps": gain.fields.maps,
                "width": width,
                **one.columns("gain"),
                **separate.columns("separate_gain"),
                **gain.share.columns("share"),
                "folding_common": gain.folding["common"],
                "folding_one_field": gain.folding["one field"],
                "fields": len(gain.fields.assignments),
            }
            rows.append(row)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--widths", type=float, nargs="+", default=[1.0, 2.0, 4.0])
    parser.add_argument("--maps", nargs="+", default=["frequency", "fixed", "moving"])
    arguments = parser.parse_args()
    table = measure(arguments.folder, arguments.maps, arguments.widths)
    print(table.sort_values(["maps", "width"]).to_string(index=False, float_format="{:.4f}".format))
