"""Disturb commands in all ways, many times, and write what came of it to `results.json` beside this file.

    python -m tests.faults                 for about 25 minutes
    python -m tests.faults --minutes 5     for less
    python -m tests.faults --sample        a few trials of `hmopt train` and `hmopt search`
    python -m tests.faults --seed 7 --add  at other moments; counts are added to those in the file
    python -m tests.faults --no-compare    without `hmopt compare`, which trains several networks

The ways take turns, so that after any time each was tried about as often. The exit status is 1 where a
trial failed; a way for which there was no time is left out.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hmopt.files import replacing
from tests.faults.trials import (
    COMMANDS,
    COMPARE,
    Stage,
    compare_killed,
    load_all,
    make_study,
    sizes_up_to,
    times,
)

RESULTS = Path(__file__).with_name("results.json")
SAMPLED = ("train", "search")
SAMPLE_ROUNDS = 2
SHARED = ("search",)
"""Commands that divide their work where they run several times at once."""


@dataclass
class Way:
    """One way to disturb a command.

    Parameters
    ----------
    name
        For a person.
    trials
        Each disturbs the command once more, and returns what is wrong afterwards.
    figure
        What the number of trials is to be seen beside.
    """

    name: str
    trials: Iterator[Callable[[], list[str]]]
    figure: str
    tried: int = 0
    failed: list[str] = field(default_factory=list)

    def try_once(self) -> None:
        """Disturb the command once; nothing where all was tried."""
        trial = next(self.trials, None)
        if trial is None:
            return
        wrong = trial()
        self.tried += 1
        if wrong:
            self.failed.append("; ".join(wrong))
            print(f"FAILED {self.name}: {self.failed[-1]}", flush=True)

    def record(self) -> dict[str, Any]:
        """Return what `results.json` holds of it."""
        return {
            "name": self.name,
            "tried": self.tried,
            "failed": len(self.failed),
            "figure": self.figure,
        }


def ways_of(stage: Stage, seed: int) -> list[Way]:
    """Return the ways to disturb a command."""
    command = f"hmopt {stage.arguments[0]}"
    changes = list(range(1, stage.changes + 1))
    random.Random(seed).shuffle(changes)
    ways = [
        Way(
            f"{command}: killed before a change of a file",
            (partial(stage.killed_before, number) for number in changes),
            f"{stage.changes} changes",
        ),
        Way(
            f"{command}: killed at a random moment",
            (partial(stage.killed_at, after) for after in times(stage, seed)),
            f"{stage.expected_count} results compared",
        ),
        Way(
            f"{command}: SIGTERM at a random moment",
            (partial(stage.terminated_at, after) for after in times(stage, seed + 1)),
            f"{stage.expected_count} results compared",
        ),
        Way(
            f"{command}: no room for a file",
            (partial(stage.with_largest_file, size) for size in sizes_up_to(stage, seed)),
            f"files of at most {stage.largest_file / 1000:.0f} kB",
        ),
    ]
    if stage.arguments[0] in SHARED:
        ways.append(
            Way(
                f"{command} twice at once: one killed before a change of a file",
                (partial(stage.worker_killed_before, number) for number in changes),
                f"{stage.changes} changes",
            )
        )
    return ways


def synced(stage: Stage) -> Way:
    """Return how many files were synced before they got their names, of one undisturbed run."""
    way = Way(
        f"hmopt {stage.arguments[0]}: synced before it gets its name", iter(()), "each file once"
    )
    way.tried = stage.named
    way.failed = list(stage.unsynced)
    return way


def main() -> int:
    """Run trials until the time is over; return the exit status."""
    parser = argparse.ArgumentParser(description="Disturb commands, and see that nothing is lost.")
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--no-compare", action="store_true")
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    until = time.monotonic() + 60 * given.minutes
    load_all()
    with tempfile.TemporaryDirectory(prefix="hmopt-faults-") as name:
        place = Path(name)
        folder = make_study(place)
        ways: list[Way] = []
        syncs: list[Way] = []
        searched = folder
        for command, arguments in COMMANDS.items():
            if given.sample and command not in SAMPLED:
                continue
            stage = Stage(arguments, folder, place)
            print(f"{command}: {stage.seconds:.1f} s undisturbed", flush=True)
            folder = stage.after
            searched = stage.after if command == "search" else searched
            ways += ways_of(stage, given.seed)
            syncs.append(synced(stage))
        if not (given.sample or given.no_compare):
            ways.append(comparison(searched, place, given.seed))
        random.Random(given.seed).shuffle(ways)
        rounds = 0
        while time.monotonic() < until and not (given.sample and rounds == SAMPLE_ROUNDS):
            for way in ways:
                if time.monotonic() < until:
                    way.try_once()
            rounds += 1
    every = [way for way in [*ways, *syncs] if way.tried]
    records = [way.record() for way in every]
    if given.add and given.output.is_file():
        records = added(json.loads(given.output.read_text(encoding="utf-8")), records)
    with replacing(given.output) as path:
        text = json.dumps(records, indent=1, ensure_ascii=False)
        path.write_text(f"{text}\n", encoding="utf-8")
    for record in records:
        print(f"{record['failed']} of {record['tried']} failed: {record['name']}")
    return int(any(way.failed for way in every))


def added(earlier: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return records with the counts of earlier ones added; those of now decide what else they tell."""
    found = {record["name"]: dict(record) for record in earlier}
    for record in now:
        before = found.get(record["name"], {"tried": 0, "failed": 0})
        tried = before["tried"] + record["tried"]
        failed = before["failed"] + record["failed"]
        found[record["name"]] = {**record, "tried": tried, "failed": failed}
    return sorted(found.values(), key=lambda record: str(record["name"]))


def comparison(searched: Path, place: Path, seed: int) -> Way:
    """Return the way to kill `hmopt compare --jobs 2`."""
    stage = Stage(COMPARE, searched, place)
    print(f"compare: {stage.seconds:.1f} s undisturbed", flush=True)
    return Way(
        "hmopt compare --jobs 2: killed at a random moment",
        (partial(compare_killed, stage, after) for after in times(stage, seed)),
        "all its processes end",
    )


if __name__ == "__main__":
    raise SystemExit(main())
