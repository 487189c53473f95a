"""The command line: parses arguments, calls `hmopt`, prints what it returns."""
