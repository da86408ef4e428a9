"""`netdeck config check`: what is wrong in a configuration file, for people or as JSON. Needs no helper and no privilege."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

from helperd.configuration import ConfigurationError, Problem, read_configuration


def check(path: Path, form: str, *, needed: bool) -> int:
    """Check the file and say the result on standard output; 0 where all is right, or nothing is there and it is not
    `needed`, else 1."""
    problems: list[Problem] = []
    missing = not path.exists()
    if missing and needed:
        problems.append(Problem(0, "", "is not there; a helper without it uses the defaults"))
    try:
        read_configuration(path)
    except ConfigurationError as error:
        problems = error.problems
    if form == "json":
        print(json.dumps({"file": str(path), "problems": msgspec.to_builtins(problems)}, indent=4))
    elif problems:
        print("\n".join(problem.text(path) for problem in problems))
    else:
        print(f"{path} " + ("is not there: the helper uses the defaults" if missing else "is right"))
    sys.stdout.flush()
    return 1 if problems else 0
