#!/usr/bin/env python3
"""What nvcc makes of kernels/cuda, against the checked-in budgets: registers, spills, stack, static
shared memory, occupancy, and the widths of loads and stores, for every kernel and architecture.

  tools/kernels/kernel_budget.py            compiles and compares; exit status 1 and the numbers on a regression
  tools/kernels/kernel_budget.py --update   writes kernels/cuda/budgets.json anew
  tools/kernels/kernel_budget.py --table    prints the measured figures as a table

Facts of the compiled code only: nothing here says how fast a kernel is. Figures hold for the nvcc
that the table names; with another one, only spills and stack are compared.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
KERNELS = ROOT / "kernels" / "cuda"
BUDGETS = KERNELS / "budgets.json"
ARCHITECTURES = ["sm_80", "sm_90"]

# Limits of a multiprocessor (CUDA C++ Programming Guide, "Compute capabilities"). Registers are given
# out to a warp in units of 256 and lie in four partitions; each block costs 1 KB of shared memory more.
MULTIPROCESSORS = {
    "sm_80": {"warps": 64, "blocks": 32, "registers": 65536, "shared_bytes": 164 << 10},
    "sm_86": {"warps": 48, "blocks": 16, "registers": 65536, "shared_bytes": 100 << 10},
    "sm_89": {"warps": 48, "blocks": 24, "registers": 65536, "shared_bytes": 100 << 10},
    "sm_90": {"warps": 64, "blocks": 32, "registers": 65536, "shared_bytes": 228 << 10},
}
SHARED_BYTES_RESERVED = 1024
REGISTER_UNIT = 256
PARTITIONS = 4


def round_up(n, to):
    return (n + to - 1) // to * to


def occupancy(arch, threads, registers, shared_bytes):
    """Warps of one kernel that a multiprocessor holds at once."""
    limits = MULTIPROCESSORS[arch]
    warps_of_block = -(-threads // 32)
    registers_of_warp = max(round_up(registers * 32, REGISTER_UNIT), REGISTER_UNIT)
    warps_by_registers = limits["registers"] // PARTITIONS // registers_of_warp * PARTITIONS
    blocks = min(
        limits["blocks"],
        limits["warps"] // warps_of_block,
        warps_by_registers // warps_of_block,
        limits["shared_bytes"] // (round_up(shared_bytes, 128) + SHARED_BYTES_RESERVED),
    )
    return blocks * warps_of_block


# --- compiling


def nvcc_path():
    return shutil.which("nvcc") or (
        "/usr/local/cuda/bin/nvcc" if os.path.exists("/usr/local/cuda/bin/nvcc") else None
    )


def nvcc_version(nvcc):
    text = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"release ([\d.]+), V([\d.]+)", text).group(2)


def sources_digest():
    digest = hashlib.sha256()
    for path in sorted(KERNELS.glob("*.[ch]*")) + sorted((ROOT / "kernels" / "common").glob("*.h")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def compile_kernels(nvcc, source):
    """ptxas's report and the PTX of every architecture."""
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, "-std=c++20", "-O3", f"-I{ROOT}", "-Xptxas", "-v", "-fatbin", "--keep",
                   f"--keep-dir={folder}", "-o", f"{folder}/out.fatbin", str(source)]
        for arch in ARCHITECTURES:
            number = arch.split("_")[1]
            command += ["-gencode", f"arch=compute_{number},code=sm_{number}"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            sys.exit(f"nvcc failed on {source}:\n{result.stderr}")
        ptx = {}
        for path in pathlib.Path(folder).glob("*.ptx"):
            target = re.search(r"^\.target (sm_\d+)", path.read_text(), re.M).group(1)
            ptx[target] = path.read_text()
        return result.stderr, ptx


def demangled(names):
    text = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True,
                          check=True).stdout
    return dict(zip(names, (short_name(line) for line in text.splitlines())))


def short_name(name):
    """parkd::cuda::(anonymous namespace)::f<int>(P) -> f<int>"""
    name = re.sub(r"^void ", "", name)
    name = re.sub(r"\([^()]*\)$", "", name)
    name = re.sub(r"parkd::cuda::|\(anonymous namespace\)::|_GLOBAL__N_\w+::", "", name)
    return re.sub(r"\((?:int|bool|unsigned int)\)", "", name)


REPORT = re.compile(
    r"Compiling entry function '(?P<name>\S+)' for '(?P<arch>sm_\d+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?P<rest>[^\n]*)", re.S)


def access_widths(body, kind):
    """How many instructions touch 16, 8, 4, 2 or 1 bytes of global memory at once."""
    widths = {}
    pattern = rf"\b{kind}(?:\.volatile|\.relaxed|\.gpu)*(?:\.global)?(?:\.nc)?(?:\.L\w+(?:::\w+)*)*" \
              rf"(?:\.v(\d))?\.[usbf](\d+)\s"
    for lanes, bits in re.findall(pattern, body):
        width = int(lanes or 1) * int(bits) // 8
        widths[width] = widths.get(width, 0) + 1
    return {str(width): widths[width] for width in sorted(widths, reverse=True)}


def measure_file(nvcc, source, dynamic_shared):
    report, ptx = compile_kernels(nvcc, source)
    found = list(REPORT.finditer(report))
    names = demangled([match["name"] for match in found])
    kernels = {}
    for match in found:
        arch = match["arch"]
        body = re.search(rf"\.entry {re.escape(match['name'])}\(.*?\n\}}", ptx[arch], re.S).group(0)
        bounds = re.search(r"\.maxntid (\d+)", body)
        if bounds is None:
            sys.exit(f"{source.name}: {names[match['name']]} has no __launch_bounds__")
        threads = int(bounds.group(1))
        shared = re.search(r"(\d+) bytes smem", match["rest"])
        shared_bytes = int(shared.group(1)) if shared else 0
        name = f"{source.stem}: {names[match['name']]}"
        warps = occupancy(arch, threads, int(match["registers"]),
                          shared_bytes + dynamic_shared.get(name, 0))
        kernels.setdefault(name, {})[arch] = {
            "threads": threads,
            "registers": int(match["registers"]),
            "spill_bytes": int(match["stores"]) + int(match["loads"]),
            "stack_bytes": int(match["stack"]),
            "static_shared_bytes": shared_bytes,
            "warps": warps,
            "loads": access_widths(body, "ld"),
            "stores": access_widths(body, "st"),
        }
    return kernels


def measure(nvcc, version, dynamic_shared, cache_path):
    key = sources_digest() + version + json.dumps(dynamic_shared, sort_keys=True)
    key = hashlib.sha256((key + pathlib.Path(__file__).read_text()).encode()).hexdigest()
    if cache_path and cache_path.exists():
        cached = json.loads(cache_path.read_text())
        if cached["key"] == key:
            return cached["kernels"]
    kernels = {}
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        sources = sorted(KERNELS.glob("*.cu"))
        for part in pool.map(lambda source: measure_file(nvcc, source, dynamic_shared), sources):
            kernels.update(part)
    if cache_path:
        cache_path.write_text(json.dumps({"key": key, "kernels": kernels}))
    return kernels


# --- comparing


def narrow(widths):
    return sum(n for width, n in widths.items() if int(width) < 16)


def regressions(name, arch, budget, now, same_compiler):
    """Lines that say what got worse."""
    lines = []

    def check(field, worse):
        if worse:
            lines.append(f"{name} [{arch}]: {field} {now[field]}, budget {budget[field]}")

    check("spill_bytes", now["spill_bytes"] > budget["spill_bytes"])
    check("stack_bytes", now["stack_bytes"] > budget["stack_bytes"])
    if not same_compiler:
        return lines
    check("registers", now["registers"] > budget["registers"])
    check("static_shared_bytes", now["static_shared_bytes"] > budget["static_shared_bytes"])
    check("warps", now["warps"] < budget["warps"])
    check("loads", narrow(now["loads"]) > narrow(budget["loads"]))
    check("stores", narrow(now["stores"]) > narrow(budget["stores"]))
    return lines


def compare(budgets, kernels, version):
    same_compiler = budgets["nvcc"] == version
    if not same_compiler:
        print(f"nvcc {version}, the budgets are of {budgets['nvcc']}: only spills and stack count")
    lines = []
    for name, by_arch in kernels.items():
        if name not in budgets["kernels"]:
            lines.append(f"{name}: has no budget")
            continue
        for arch, now in by_arch.items():
            lines += regressions(name, arch, budgets["kernels"][name][arch], now, same_compiler)
    lines += [f"{name}: has a budget and is gone" for name in budgets["kernels"]
              if name not in kernels]
    return lines


def widths_text(widths):
    return " ".join(f"{n}x{width}" for width, n in widths.items()) or "-"


def print_table(kernels):
    """Markdown; template arguments in code quotes, which no renderer takes for tags."""
    print("| kernel | arch | threads | registers | spilled bytes | static shared bytes "
          "| resident warps | occupancy | loads (number x bytes) | stores |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |")
    for name, by_arch in sorted(kernels.items()):
        for arch, now in sorted(by_arch.items()):
            warps_max = MULTIPROCESSORS[arch]["warps"]
            print(f"| `{name}` | {arch} | {now['threads']} | {now['registers']} "
                  f"| {now['spill_bytes']} | {now['static_shared_bytes']} "
                  f"| {now['warps']} of {warps_max} | {100 * now['warps'] // warps_max} % "
                  f"| {widths_text(now['loads'])} | {widths_text(now['stores'])} |")
    print()


def write_budgets(path, version, dynamic_shared, kernels):
    """One line an architecture, so that a change reads well in a diff."""
    lines = ["{", f'  "nvcc": {json.dumps(version)},',
             f'  "dynamic_shared_bytes": {json.dumps(dynamic_shared, sort_keys=True)},',
             '  "kernels": {']
    names = sorted(kernels)
    for i, name in enumerate(names):
        lines.append(f"    {json.dumps(name)}: {{")
        arches = sorted(kernels[name])
        for j, arch in enumerate(arches):
            comma = "," if j + 1 < len(arches) else ""
            lines.append(f'      "{arch}": {json.dumps(kernels[name][arch])}{comma}')
        lines.append("    }" + ("," if i + 1 < len(names) else ""))
    lines += ["  }", "}"]
    path.write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write the measured figures as budgets")
    parser.add_argument("--table", action="store_true", help="print the measured figures")
    parser.add_argument("--cache", type=pathlib.Path, help="file that keeps the last measurement")
    arguments = parser.parse_args()
    nvcc = nvcc_path()
    if nvcc is None:
        print("SKIPPED: no nvcc")
        return 77
    version = nvcc_version(nvcc)
    budgets = json.loads(BUDGETS.read_text()) if BUDGETS.exists() else {
        "nvcc": version, "dynamic_shared_bytes": {}, "kernels": {}}
    dynamic_shared = budgets["dynamic_shared_bytes"]
    kernels = measure(nvcc, version, dynamic_shared, arguments.cache)
    if not kernels:
        sys.exit("no kernels were found")
    if arguments.table:
        print_table(kernels)
    if arguments.update:
        write_budgets(BUDGETS, version, dynamic_shared, kernels)
        print(f"{BUDGETS}: {len(kernels)} kernels")
        return 0
    lines = compare(budgets, kernels, version)
    print("\n".join(lines) or f"{len(kernels)} kernels are within their budgets (nvcc {version})")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
