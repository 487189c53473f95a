"""`python -m tests.fuzz`: run malformed inputs, and tell how they ended.

`--counts tests/fuzz/counts.json` writes the counts; with `--every` and `--first`, parts of the list
are run one after the other, and their counts are added.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.fuzz.cases import SEED, Case, list_cases
from tests.fuzz.run import FAULTS, Ended, count, run_cases


def main() -> int:
    """Run the cases that the arguments ask for; return 1 if one ended as none must."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="run every n-th case only")
    parser.add_argument("--first", type=int, default=0, help="begin with this case")
    parser.add_argument("--minutes", type=float, default=0, help="end after so long")
    parser.add_argument("--counts", type=Path, help="file to add the counts to")
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
        listed = 0
        ended: list[Ended] = []

        def chosen() -> Iterator[Case]:
            nonlocal listed
            for place, case in enumerate(list_cases(folders)):
                listed += 1
                if place % arguments.every == arguments.first and case.kind.startswith(kinds):
                    yield case

        started = time.monotonic()
        for one in run_cases(chosen(), folders):
            ended.append(one)
            if one.is_fault:
                print(one, flush=True)
            if arguments.minutes and time.monotonic() - started > 60 * arguments.minutes:
                listed = sum(1 for _ in list_cases(folders))
                break
    _add_counts(arguments.counts, listed, ended)
    outcomes = Counter(one.outcome for one in ended)
    print(f"{len(ended)} of {listed} malformed inputs: {dict(outcomes)}")
    return int(any(one.outcome in FAULTS for one in ended))


def _add_counts(path: Path | None, listed: int, ended: Sequence[Ended]) -> None:
    """Write how cases ended, added to what the file holds of other parts of the same list."""
    if path is None:
        return
    by_kind = count(ended)
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        for kind, counts in before["by_kind"].items():
            together = Counter(counts) + Counter(by_kind.get(kind, {}))
            by_kind[kind] = dict(together)
    outcomes: Counter[str] = Counter()
    for counts in by_kind.values():
        outcomes.update(counts)
    content = {
        "seed": SEED,
        "listed": listed,
        "run": sum(outcomes.values()),
        "outcomes": dict(outcomes),
        "by_kind": by_kind,
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
