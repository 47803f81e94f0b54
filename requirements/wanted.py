"""Prints the requirements that setup.cfg states, for the parts named on the command line: the input of `make lock`.

A part is ``run`` (what the tiers need), ``build`` (what an editable install needs) or the name of an extra.
Refuses to build the project for that: a lock must not depend on which packages are there today.
"""

import configparser
import sys
from pathlib import Path

_SETUP_CFG = Path(__file__).parents[1] / "setup.cfg"


def wanted(config: configparser.ConfigParser, part: str) -> list[str]:
    """Give the requirement lines of one *part*; KeyError when setup.cfg has no such extra."""
    if part == "build":
        return ["setuptools>=77"]
    section, option = ("options", "install_requires") if part == "run" else ("options.extras_require", part)
    lines = (line.strip() for line in config[section][option].splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def main(parts: list[str]) -> None:
    """Write the lines of all *parts* to stdout."""
    config = configparser.ConfigParser()
    config.read_string(_SETUP_CFG.read_text(encoding="utf-8"))
    for part in parts:
        sys.stdout.writelines(f"{line}\n" for line in wanted(config, part))


if __name__ == "__main__":
    main(sys.argv[1:])
