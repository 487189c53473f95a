"""What each command does, as a function for Python: `hmopt.train`, `hmopt.search` and so on.

A function works on a study folder, shows progress through `track`, returns a frozen record of what was done, and prints
nothing; `str(record)` is what the command line prints of it. The command line, `hmopt.cli`, only parses and prints.
"""

from hmopt.workflow.machine import keep_freed_memory

__all__ = [
    "keep_freed_memory",
]
