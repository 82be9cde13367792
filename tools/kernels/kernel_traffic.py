#!/usr/bin/env python3
"""What the kernels ask of device memory, against what the formulas in their headers say.

  tools/kernels/kernel_traffic.py --table              prints the checked-in table, kernel by kernel
  tools/kernels/kernel_traffic.py --program P          runs P (build/dev/tests/cuda/cuda_traffic) and compares;
                                               exit status 1 and the numbers where they differ
  tools/kernels/kernel_traffic.py --program P --update writes kernels/cuda/traffic.json anew
  tools/kernels/kernel_traffic.py --prove              shows that each figure, one worse, is noticed

Counted by the emulator's race build (tests/cuda_emulator/traffic.h), from the accesses that g++ -O2
leaves of the source: the same for every architecture, and with another compiler only roughly the
same. A figure that gets worse needs its reason in the commit.
"""
import argparse
import copy
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TRAFFIC = ROOT / "kernels" / "cuda" / "traffic.json"
SECTOR_BYTES = 32
FIELDS = ["bytes_read", "bytes_written", "sectors", "memory_bytes"]
# How much more memory another compiler's code may ask for.
OTHER_COMPILER = 1.02


def name_of(case):
    return f"{case['model']}, {case['kernel']}"


def read_cases(path):
    return json.loads(path.read_text())


def measure(program):
    result = subprocess.run([program], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{program} failed:\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return {"compiler": lines[0]["compiler"], "cases": lines[1:]}


def differences(table, now):
    """Lines that say what is not as the table has it."""
    if table["compiler"] != now["compiler"]:
        print(f"g++ {now['compiler']}, the table is of {table['compiler']}: only memory counts")
    wanted = {name_of(case): case for case in table["cases"]}
    seen = {name_of(case): case for case in now["cases"]}
    lines = [f"{name}: is not in the table" for name in seen if name not in wanted]
    lines += [f"{name}: is in the table and is gone" for name in wanted if name not in seen]
    for name in seen.keys() & wanted.keys():
        for field in ["rows", "ideal_bytes"] + FIELDS:
            was, is_now = wanted[name][field], seen[name][field]
            if table["compiler"] != now["compiler"]:
                if field != "memory_bytes" or is_now <= was * OTHER_COMPILER:
                    continue
            if was != is_now:
                verdict = "WORSE" if is_now > was else "better, the table is old (--update)"
                lines.append(f"{name}: {field} {is_now}, in the table {was}: {verdict}")
    return sorted(lines)


def prove(table):
    """The comparison finds every figure that is one worse, and kernels that come or go."""
    changes = [(i, field) for i in range(len(table["cases"])) for field in FIELDS]
    for i, field in changes:
        worse = copy.deepcopy(table)
        worse["cases"][i][field] += 1
        lines = differences(table, worse)
        if len(lines) != 1 or name_of(table["cases"][i]) not in lines[0] or "WORSE" not in lines[0]:
            sys.exit(f"{name_of(table['cases'][i])}: {field} one worse gave {lines}")
    less = copy.deepcopy(table)
    less["cases"].pop()
    if len(differences(table, less)) != 1 or len(differences(less, table)) != 1:
        sys.exit("a kernel that comes or goes is not noticed")
    print(f"{len(changes)} figures, each one worse, are noticed")


def print_table(table):
    print("| kernel | model | rows | ideal bytes | bytes / ideal | sectors / ideal | memory / ideal |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for case in sorted(table["cases"], key=lambda c: c["kernel"]):
        ideal = case["ideal_bytes"]
        moved = case["bytes_read"] + case["bytes_written"]
        print(f"| {case['kernel']} | {case['model']} | {case['rows']} | {ideal:,} "
              f"| {moved / ideal:.2f} | {case['sectors'] * SECTOR_BYTES / ideal:.2f} "
              f"| {case['memory_bytes'] / ideal:.2f} |")


def write_table(path, table):
    """One line a case, so that a change reads well in a diff."""
    lines = ["{", f'  "compiler": {json.dumps(table["compiler"])},', '  "cases": [']
    lines += [f"    {json.dumps(case)}," for case in table["cases"]]
    lines[-1] = lines[-1].rstrip(",")
    path.write_text("\n".join(lines + ["  ]", "}"]) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", help="tests/cuda/cuda_traffic of a build directory")
    parser.add_argument("--update", action="store_true", help="write what was counted as the table")
    parser.add_argument("--table", action="store_true", help="print the table")
    parser.add_argument("--prove", action="store_true", help="show that worse figures are noticed")
    arguments = parser.parse_args()
    if not (arguments.program or arguments.table or arguments.prove):
        parser.error("one of --table, --program and --prove")
    now = measure(arguments.program) if arguments.program else None
    if now and arguments.update:
        write_table(TRAFFIC, now)
        print(f"{TRAFFIC}: {len(now['cases'])} cases")
    table = read_cases(TRAFFIC)
    if arguments.table:
        print_table(table)
    if arguments.prove:
        prove(table)
    if now and not arguments.update:
        lines = differences(table, now)
        print("\n".join(lines) or f"{len(now['cases'])} cases ask for what the table says")
        return 1 if lines else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
