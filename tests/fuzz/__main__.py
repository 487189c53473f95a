"""`python -m tests.fuzz`: run all malformed inputs, and write how they ended to `tests/fuzz/counts.json`."""

import argparse
import itertools
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.cases import SEED, list_cases
from tests.fuzz.run import FAULTS, count, run_cases

COUNTS = Path(__file__).with_name("counts.json")


def main() -> int:
    """Run the cases that the arguments ask for; return 1 if one ended as none must."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="run every n-th case only")
    parser.add_argument("--first", type=int, default=0, help="begin with this case")
    parser.add_argument(
        "--kind", default="", help="run cases whose kind begins so; several with commas"
    )
    parser.add_argument("--folders", type=Path, help="valid folders that were made before")
    arguments = parser.parse_args()
    kinds = tuple(arguments.kind.split(","))
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.folders is None:
            from tests.fuzz.originals import make_originals  # which needs torch

            folders = make_originals(Path(temporary))
        else:
            folders = {path.name: path for path in arguments.folders.iterdir()}
        cases = itertools.islice(list_cases(folders), arguments.first, None, arguments.every)
        chosen = (case for case in cases if case.kind.startswith(kinds))
        ended = []
        for one in run_cases(chosen, folders):
            ended.append(one)
            if one.is_fault:
                print(one, flush=True)
    outcomes = Counter(one.outcome for one in ended)
    print(f"{len(ended)} malformed inputs: {dict(outcomes)}")
    if arguments.every == 1 and not arguments.kind:
        content = {
            "seed": SEED,
            "inputs": len(ended),
            "outcomes": dict(outcomes),
            "by_kind": count(ended),
        }
        COUNTS.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return int(any(one.outcome in FAULTS for one in ended))


if __name__ == "__main__":
    sys.exit(main())
