"""Run rows, print their table, and write `results.json` and the growth curves beside this file.

    python -m benchmarks                          every row but long ones, then the growth curves
    python -m benchmarks --long                   every row, long ones too, then the growth curves
    python -m benchmarks --only local-ncc-monai   one row (or several), which replace theirs in `results.json`
    python -m benchmarks --list                   names and goals

Every row runs in a process of its own, so that the others remain if one fails or is killed.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.rows import (
    THREAD_VARIABLES,
    CannotMeasureError,
    Declared,
    Measured,
    Row,
    declared_rows,
)
from hmopt.files import replacing

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
ROW_SECONDS = 300
LONG_ROW_SECONDS = 1800
THREADS = 2
RESULT_PREFIX = "measured: "
LEFT_OUT_PREFIX = "left out: "


def measure_in_process(declared: Declared) -> Measured:
    """Measure a row in this process, with memory and threads as in hmopt's own commands."""
    import torch

    from hmopt.workflow import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(THREADS)
    return declared.measure()


def measure_in_subprocess(declared: Declared) -> Row:
    """Measure a row in a process of its own; if it fails, its last line of error output is the note.

    Raises
    ------
    CannotMeasureError
        If the machine does not let it be measured.
    """
    command = [sys.executable, "-m", "benchmarks", "--here", declared.name]
    threads = dict.fromkeys(THREAD_VARIABLES, str(THREADS))
    limit_s = LONG_ROW_SECONDS if declared.is_long else ROW_SECONDS
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=limit_s,
            env=os.environ | threads,
            cwd=FOLDER.parent,
        )
    except subprocess.TimeoutExpired:
        return declared.filled(None, f"stopped after {limit_s} s")
    reasons = lines_after(LEFT_OUT_PREFIX, done.stdout)
    if reasons:
        raise CannotMeasureError(reasons[-1])
    found = lines_after(RESULT_PREFIX, done.stdout)
    if done.returncode != 0 or not found:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return declared.filled(None, f"failed: {last}")
    return declared.filled(**json.loads(found[-1]))


def lines_after(prefix: str, printed: str) -> list[str]:
    """Return the lines that begin with a prefix, without it."""
    lines = printed.splitlines()
    return [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]


def write_results(rows: Sequence[Row], declared: Mapping[str, Declared]) -> None:
    """Write rows into `results.json`, beside those measured earlier that are still declared."""
    earlier = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else []
    by_name = {line["name"]: line for line in earlier} | {
        row.name: {**vars(row), "met": row.met} for row in rows
    }
    lines = [by_name[name] for name in declared if name in by_name]
    with replacing(RESULTS) as beside:
        beside.write_text(json.dumps(lines, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def table_of(rows: Sequence[Row]) -> Table:
    """Return the table that is printed."""
    table = Table("row", "value", "goal", "", title="hmopt beside other programs")
    for row in rows:
        value = "failed" if row.value is None else f"{row.value:.3g} {row.unit}"
        mark = "[green]met[/green]" if row.met else "[red]missed[/red]"
        table.add_row(row.name, value, goal_of(row), mark)
    return table


def goal_of(row: Row | Declared) -> str:
    """Return a row's goal as it is printed."""
    return f"{'≥' if row.better == 'higher' else '≤'} {row.goal:g} {row.unit}"


def run(declared: Mapping[str, Declared], names: Sequence[str], console: Console) -> list[Row]:
    """Measure rows one after another, and write each as soon as it is measured."""
    rows: list[Row] = []
    for name in names:
        began = time.monotonic()
        try:
            row = measure_in_subprocess(declared[name])
        except CannotMeasureError as reason:
            console.print(f"{name}: left out. {reason}", highlight=False)
            continue
        rows.append(row)
        write_results(rows, declared)
        value = "failed" if row.value is None else f"{row.value:.3g} {row.unit}"
        console.print(
            f"{name}: {value} ({time.monotonic() - began:.0f} s). {row.note}", highlight=False
        )
    return rows


def arguments(names: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="hmopt beside other programs, as ratios"
    )
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help="rows to run")
    parser.add_argument("--long", action="store_true", help="also run rows that take minutes")
    parser.add_argument(
        "--list", action="store_true", help="show the names of all rows and their goals"
    )
    parser.add_argument("--here", choices=names, metavar="NAME", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Run the command line; return 1 if a row failed."""
    declared = declared_rows()
    asked = arguments(list(declared))
    console = Console()
    if asked.list:
        for name, row in declared.items():
            long = " (long)" if row.is_long else ""
            console.print(f"{name}{long}: {goal_of(row)}, against {row.against}", highlight=False)
        return 0
    if asked.here:
        try:
            measured = measure_in_process(declared[asked.here])
        except CannotMeasureError as reason:
            print(f"{LEFT_OUT_PREFIX}{reason}")
            return 0
        print(RESULT_PREFIX + json.dumps(vars(measured)))
        return 0
    by_default = [name for name, row in declared.items() if asked.long or not row.is_long]
    rows = run(declared, asked.only or by_default, console)
    console.print(table_of(rows))
    if not asked.only:
        subprocess.run([sys.executable, "-m", "benchmarks.growth"], check=True, cwd=FOLDER.parent)
    return int(any(row.value is None for row in rows))


if __name__ == "__main__":
    sys.exit(main())
