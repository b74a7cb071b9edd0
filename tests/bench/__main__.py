"""Measure the figures that vm-mgr promises, on the lab, and write docs/reference/performance.md.

`python -m tests.bench` measures all, `python -m tests.bench status create` only those. Raw numbers go to
tests/bench/results/NAME.json, with the machine, the versions and the command; the page, and the pictures in
docs/explanation, are made of all that are there.
"""

import statistics
import sys

from tests.bench import agent, commands, lab, migration, pressure, recovery, storage
from tests.bench.page import render, write
from tests.bench.pictures import draw

MODULES = (lab, commands, storage, agent, pressure, recovery, migration)
MEASURES = {name: measure for module in MODULES for name, measure in module.MEASURES.items()}


def main(names: list[str]) -> None:
    """Measure and render; unknown names end with the list of known ones."""
    if len(MEASURES) < sum(len(module.MEASURES) for module in MODULES):
        sys.exit("bench: two measures have one name, so that one of them is never taken")
    unknown = set(names) - set(MEASURES)
    if unknown:
        sys.exit(f"bench: no {', '.join(sorted(unknown))}; there are: {', '.join(MEASURES)}")
    for name in names or MEASURES:
        times = MEASURES[name].take()
        write(name, times)
        print(name, {what: round(statistics.median(values), 3) for what, values in times.items() if values})
    render(MEASURES)
    draw()


if __name__ == "__main__":
    main(sys.argv[1:])
