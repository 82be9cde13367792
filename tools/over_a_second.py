#!/usr/bin/env python3
"""Names the cases that took a second or more in a folder of GoogleTest's JSON outputs: what tools/check.sh
fast should leave out (tests/slow_cases.txt), unless the machine was busy.

  tools/over_a_second.py FOLDER
"""
import json
import pathlib
import sys

cases = []
for path in pathlib.Path(sys.argv[1]).glob("*.json"):
    for suite in json.loads(path.read_text())["testsuites"]:
        for case in suite["testsuite"]:
            seconds = float(case["time"].rstrip("s"))
            cases.append((seconds, suite["name"].split("/")[-1] + "." + case["name"].split("/")[0]))
slow = [case for case in sorted(cases, reverse=True) if case[0] >= 1]
print(f"{len(cases)} cases of GoogleTest, {len(slow)} of a second or more")
if slow:
    load = pathlib.Path("/proc/loadavg").read_text().split()[0]
    print(f"where the machine was quiet (load {load}), these belong into tests/slow_cases.txt:")
for seconds, name in slow[:5]:
    print(f"  {seconds:.1f} s {name}")
