"""Fails unless a quick start's held-out accuracy rose by so many points, with disjoint intervals: SUMMARY POINTS."""

import json
import sys
from pathlib import Path

summary = json.loads(Path(sys.argv[1]).read_text())
before, after = summary["accuracy_before"], summary["accuracy_after"]
print(f"before {before}, after {after}, {summary['seconds']:.0f} s, {summary['cpu_seconds']:.0f} s of CPU")
if before["n"] < 200:
    sys.exit(f"only {before['n']} held-out problems: at least 200 are needed to call this an improvement")
if 100 * (after["value"] - before["value"]) < int(sys.argv[2]):
    sys.exit(f"held-out accuracy rose by less than {sys.argv[2]} points")
if after["interval"][0] <= before["interval"][1]:
    sys.exit("the intervals before and after overlap")
