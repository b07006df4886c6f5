"""`python -m bench [NAME …]`: the tables of these names, or all. Exit code 1: a goal of one was missed."""

import sys

from bench import accounts, copying, flags, me, memory, parity, scale, start, tasks

TABLES = {
    "me": me,
    "accounts": accounts,
    "flags": flags,
    "start": start,
    "memory": memory,
    "scale": scale,
    "parity": parity,
    "tasks": tasks,
    "copy": copying,
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in TABLES]
    if unknown:
        print(f"no table {', '.join(unknown)}; there are {', '.join(TABLES)}", file=sys.stderr)
        return 2
    code = 0
    for name in names or TABLES:
        code = max(code, TABLES[name].main())
        print()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
