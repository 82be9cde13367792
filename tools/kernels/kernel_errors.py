#!/usr/bin/env python3
"""Kernel by kernel, the largest errors that a fresh run of the kernel tests sees against float64 (the
sampler's tokens: against the CPU's), and the tolerance they are held to, as a Markdown table.

  tools/kernels/kernel_errors.py [BUILD]         under the emulator (default build/dev; targets cuda_ops_test_plain,
                                         cuda_rows_test_plain, cuda_attention_test_plain,
                                         cuda_sampling_test_plain)
  tools/kernels/kernel_errors.py --gpu [BUILD]   on the device (default build/gpu)

"used" is the largest share of its own tolerance that an error took. The tests draw new seeds each time;
they stand below the table. Exit status 1 when a test failed.
"""
import argparse
import pathlib
import re
import subprocess
import sys

PROGRAMS = ["ops/cuda_ops_test", "cuda/cuda_rows_test", "cuda/cuda_attention_test",
            "cuda/cuda_sampling_test"]
LINE = re.compile(r"^(?P<name>.+): (?P<n>\d+) values, max abs error (?P<absolute>\S+), "
                  r"max rel error (?P<relative>\S+) \(allowed (each its own|(?P<slope>\S+) \* \|x\| \+ "
                  r"(?P<constant>\S+)), used (?P<used>\S+)\)$")


def run(program, rows, seeds):
    """Adds the program's lines to `rows`, by kernel; answers whether its tests passed."""
    result = subprocess.run([program], capture_output=True, text=True, check=False)
    for line in result.stdout.splitlines():
        if line.startswith("device:") or "PARKD_CUDA_SEED" in line:
            seeds.append(f"{program.name}: {line}")
        elif line.startswith("seed "):
            seeds[-1] += line[len("seed"):]
        match = LINE.match(line)
        if match is None:
            continue
        row = rows.setdefault((match["name"], match["slope"], match["constant"]), [0, 0, 0, 0])
        row[0] += int(match["n"])
        for i, field in enumerate(["absolute", "relative", "used"], 1):
            row[i] = max(row[i], float(match[field]))
    if result.returncode != 0:
        print(f"{program} FAILED:\n{result.stdout[-3000:]}{result.stderr[-3000:]}")
    return result.returncode == 0


def tolerance(slope, constant):
    if slope is None:
        return "each value its own"
    if float(slope) == 0 and float(constant) == 0:
        return "exact"
    return f"{float(slope):.3g} x + {float(constant):.3g}"


def print_table(rows):
    print("| kernel | values | largest error | relative | tolerance | used |")
    print("| --- | ---: | ---: | ---: | --- | ---: |")
    for (name, slope, constant), (n, absolute, relative, used) in rows.items():
        print(f"| {name} | {n:,} | {absolute:.2g} | {relative:.2g} "
              f"| {tolerance(slope, constant)} | {used:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true", help="the programs built for a device")
    parser.add_argument("build", nargs="?", help="build directory")
    arguments = parser.parse_args()
    build = arguments.build or ("build/gpu" if arguments.gpu else "build/dev")
    kind = "gpu" if arguments.gpu else "plain"
    rows, seeds = {}, []
    passed = [run(pathlib.Path(build, "tests", f"{name}_{kind}").resolve(), rows, seeds)
              for name in PROGRAMS]
    print_table(rows)
    print("\nSeeds of the emulator and of each test:")
    print("\n".join(f"- {line}" for line in seeds))
    return 0 if all(passed) and rows else 1


if __name__ == "__main__":
    sys.exit(main())
