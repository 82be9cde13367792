#!/usr/bin/env python3
"""What the kernels' machine code asks of a multiprocessor's issue slots, against checked-in budgets.

A multiprocessor issues four instructions a clock at most. A loop that spends many of them on a byte
or on a flop is bound by that before memory or arithmetic are: its issue roof. This reads the SASS of
the library that the build made (cuobjdump, nvdisasm), finds the hot loop of every kernel, and counts.

  tools/kernels/issue_roof.py LIBRARY            compares with kernels/cuda/issue_budgets.json; status 1 on a regression
  tools/kernels/issue_roof.py LIBRARY --update   writes them anew
  tools/kernels/issue_roof.py --table            prints the table of kernels/cuda/README.md, of the budgets
  tools/kernels/issue_roof.py --check PAGE       fails when PAGE has another one
  tools/kernels/issue_roof.py --prove            fails unless a worse loop of each kind is found

Of the code alone: no GPU has run it. Loops are counted as the compiler left them; how often one
runs, and what waits for memory, this does not see. Figures hold for the nvcc that the budgets name;
with another one only integer divisions and CAS loops are compared.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from kernel_budget import demangled, nvcc_path, nvcc_version
from kernel_roofline import DEVICES

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUDGETS = ROOT / "kernels" / "cuda" / "issue_budgets.json"

ISSUES_PER_CLOCK = 4    # of a multiprocessor: one for each of its four schedulers
SLOW_PER_CLOCK = 0.5    # conversions and special functions: 16 lanes a clock
HMMA_FLOPS = 4096       # m16n8k16, the only shape that the kernels use
FMA_FLOPS = 64          # 32 lanes, two flops each
LANES = 32
WARPSYNCS_OUT_OF_LINE = 4  # more: the copy of a loop for lanes that diverged

# --- reading SASS

LABEL = re.compile(r"^(\.L_\w+):")
INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([^;]+?)\s*;")
BRANCH = re.compile(r"BRA\b.*\((\.L_\w+)\)")


def functions(sass):
    """(mangled name, [instruction], {label: index of the instruction behind it})"""
    for text in re.split(r"\n(?=\.text\.)", sass):
        if not text.startswith(".text."):
            continue
        lines = text.split("\n")
        instructions, labels = [], {}
        for line in lines[1:]:
            label, instruction = LABEL.match(line), INSTRUCTION.match(line)
            if label:
                labels[label.group(1)] = len(instructions)
            elif instruction:
                instructions.append(instruction.group(1))
        yield lines[0][len(".text."):-1], instructions, labels


def innermost_loops(instructions, labels):
    """What lies between a branch back and its target, and holds no other such."""
    spans = []
    for i, instruction in enumerate(instructions):
        branch = BRANCH.match(instruction)
        if branch and labels.get(branch.group(1), len(instructions)) < i:
            spans.append((labels[branch.group(1)], i + 1))
    for first, last in spans:
        if not any((a, b) != (first, last) and first <= a and b <= last for a, b in spans):
            yield instructions[first:last]


def opcode(instruction):
    return instruction.split()[0].split(".")


def is_division(instruction):
    """The reciprocal that a division of integers by a variable begins with."""
    return instruction.startswith("I2F") and "RP" in opcode(instruction)


def is_cas(instruction):
    return "CAS" in opcode(instruction) or "CAST" in opcode(instruction)


def is_slow(instruction):
    """Conversions that have a unit of a quarter of the lanes; packed ones (F2FP) have not."""
    return opcode(instruction)[0] in ("F2F", "F2I", "I2F", "MUFU")


def loaded_bytes(instruction):
    """Of a warp, from global memory."""
    words = opcode(instruction)
    if words[0] != "LDG":
        return 0
    widths = {"128": 16, "64": 8, "U16": 2, "S16": 2, "U8": 1, "S8": 1}
    return LANES * next((widths[word] for word in words if word in widths), 4)


def count(instructions, matches):
    return sum(1 for instruction in instructions if matches(instruction))


def named(*names):
    return lambda instruction: opcode(instruction)[0] in names


def measure_loop(loop):
    return {
        "instructions": len(loop),
        "bytes": sum(loaded_bytes(instruction) for instruction in loop),
        "hmma": count(loop, named("HMMA")),
        "fma": count(loop, named("FFMA")),
        "slow": count(loop, is_slow),
        "divisions": count(loop, is_division),
    }


def work_of(loop):
    """What the loop is for, and how much of it a warp's turn does."""
    if loop["hmma"] > 0:
        return "tensor flop", HMMA_FLOPS * loop["hmma"]
    if loop["bytes"] > 0:
        return "byte", loop["bytes"]
    return "flop", FMA_FLOPS * loop["fma"]


def clocks_of(loop):
    """Of a multiprocessor, for one warp's turn, at the least."""
    return max(loop["instructions"] / ISSUES_PER_CLOCK, loop["slow"] / SLOW_PER_CLOCK)


def measure_function(instructions, labels):
    """The hot loop is the innermost one with most loads and multiplications."""
    measured = {"divisions": count(instructions, is_division), "cas": count(instructions, is_cas)}
    loops = [measure_loop(loop) for loop in innermost_loops(instructions, labels)
             if count(loop, named("WARPSYNC")) <= WARPSYNCS_OUT_OF_LINE]
    loops = [loop for loop in loops if work_of(loop)[1] > 0]
    if loops:
        measured["loop"] = max(loops, key=lambda loop: (loop["hmma"], loop["fma"] + loop["bytes"] / 64,
                                                        loop["bytes"]))
    return measured


# --- the library


def tool(name):
    """Of tools/setup.sh's cache, the toolkit, or the path; None when there is none."""
    cache = pathlib.Path(os.environ.get("PARKD_CACHE", pathlib.Path.home() / ".cache" / "parkd"))
    found = sorted(cache.glob(f"sass/lib/python3*/site-packages/nvidia/*/bin/{name}"))
    if found:
        return str(found[-1])
    return shutil.which(name) or shutil.which(name, path="/usr/local/cuda/bin")


def measure(library, cuobjdump, nvdisasm):
    kernels = {}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([cuobjdump, "--extract-elf", "all", str(library.resolve())], cwd=folder,
                       check=True, capture_output=True)
        cubins = sorted(pathlib.Path(folder).glob("*.cubin"))
        if not cubins:
            sys.exit(f"{library} holds no machine code")
        for cubin in cubins:
            arch = re.search(r"\.(sm_\d+)\.", cubin.name).group(1)
            sass = subprocess.run([nvdisasm, "--print-code", str(cubin)], check=True, text=True,
                                  capture_output=True).stdout
            found = list(functions(sass))
            names = demangled([name for name, _, _ in found])
            for name, instructions, labels in found:
                kernels.setdefault(names[name], {})[arch] = measure_function(instructions, labels)
    return kernels


# --- comparing


def ratios(loop):
    """What may not grow: for a byte or flop of the loop's work."""
    work = work_of(loop)[1]
    return {field: loop[field] / work for field in ("instructions", "slow", "divisions")}


def regressions(name, arch, budget, now, same_compiler):
    """Lines that say what got worse."""
    lines = []
    if now["cas"] > budget["cas"]:
        lines.append(f"{name} [{arch}]: {now['cas']} compare-and-swaps, budget {budget['cas']}")
    if not same_compiler:
        return lines
    if now["divisions"] > budget["divisions"]:
        lines.append(f"{name} [{arch}]: {now['divisions']} integer divisions, "
                     f"budget {budget['divisions']}")
    if "loop" not in budget:
        return lines
    if "loop" not in now:
        return lines + [f"{name} [{arch}]: its hot loop is not found any more"]
    unit, work = work_of(now["loop"])
    if unit != work_of(budget["loop"])[0]:
        return lines + [f"{name} [{arch}]: its hot loop is for {unit}s, "
                        f"the budget's for {work_of(budget['loop'])[0]}s"]
    allowed = ratios(budget["loop"])
    for field, ratio in ratios(now["loop"]).items():
        if ratio > allowed[field] * (1 + 1e-9):
            lines.append(f"{name} [{arch}]: {now['loop'][field]} {field} in the hot loop for {work} "
                         f"{unit}s, budget {allowed[field] * work:.1f}")
    return lines


def compare(budgets, kernels, version):
    same_compiler = budgets["nvcc"] == version
    if not same_compiler:
        print(f"nvcc {version}, the budgets are of {budgets['nvcc']}: only compare-and-swaps count")
    lines = []
    known = {arch for by_arch in budgets["kernels"].values() for arch in by_arch}
    for name, by_arch in kernels.items():
        for arch in known & set(by_arch):  # a build may have others as well
            budget = budgets["kernels"].get(name, {}).get(arch)
            if budget is None:
                lines.append(f"{name} [{arch}]: has no budget")
            else:
                lines += regressions(name, arch, budget, by_arch[arch], same_compiler)
    return lines + [f"{name}: has a budget and is gone" for name in budgets["kernels"]
                    if name not in kernels]


def prove(budgets):
    """Each figure, one worse, is found by name; so are kernels that come or go."""
    n_changes = 0
    for name, by_arch in budgets["kernels"].items():
        for arch, budget in by_arch.items():
            changes = [("cas",), ("divisions",)]
            if "loop" in budget:
                changes += [("loop", field) for field in ("instructions", "slow", "divisions")]
            for change in changes:
                worse = json.loads(json.dumps(budgets["kernels"]))
                at = worse[name][arch]
                for key in change[:-1]:
                    at = at[key]
                at[change[-1]] += 1
                lines = compare(budgets, worse, budgets["nvcc"])
                if len(lines) != 1 or f"{name} [{arch}]" not in lines[0]:
                    sys.exit(f"{name} [{arch}]: {'.'.join(change)} one worse gave {lines}")
                n_changes += 1
    less = dict(list(budgets["kernels"].items())[1:])
    fewer = {"nvcc": budgets["nvcc"], "kernels": less}
    if len(compare(budgets, less, budgets["nvcc"])) != 1 or not compare(
            fewer, budgets["kernels"], budgets["nvcc"]):
        sys.exit("a kernel that comes or goes is not noticed")
    print(f"{n_changes} figures, each one worse, are noticed")


# --- the page

# Of bf16; heads of 128 as Mistral's and Qwen3's, 64 as SmolLM2's.
TABLE = ["attention_decode_kernel<__nv_bfloat16, 128, 1>",
         "attention_decode_kernel<__nv_bfloat16, 128, 2>",
         "attention_decode_kernel<__nv_bfloat16, 128, 4>",
         "attention_decode_kernel<__nv_bfloat16, 128, 8>",
         "attention_decode_kernel<__nv_bfloat16, 64, 1>",
         "attention_decode_kernel<__nv_bfloat16, 64, 4>",
         "attention_prefill_mma_kernel<__nv_bfloat16, 128>",
         "attention_prefill_mma_kernel<__nv_bfloat16, 64>",
         "attention_prefill_kernel<__nv_bfloat16, 128>",
         "attention_prefill_kernel<__nv_bfloat16, 64>",
         "scan_logits_kernel",
         "choose_tokens_kernel",
         "logprobs_kernel"]
PEAKS = {"byte": "bytes_per_s", "flop": "float_flops", "tensor flop": "flops"}


def roof_share(loop, device):
    """The most of the device's bandwidth, or peak, that its issue slots allow the loop."""
    unit, work = work_of(loop)
    per_s = work / clocks_of(loop) * device["multiprocessors"] * device["clock_hz"]
    return per_s / device[PEAKS[unit]]


def table(budgets):
    lines = ["| kernel | hot loop (sm_90) | slow | divisions | CAS in all | "
             + " | ".join(f"{name}, %" for name in DEVICES) + " |",
             "| --- | --- | ---: | ---: | ---: |" + " ---: |" * len(DEVICES)]
    for name in TABLE:
        by_arch = budgets["kernels"][name]
        loop = by_arch["sm_90"]["loop"]
        unit, work = work_of(loop)
        shares = [f"{100 * roof_share(by_arch[device['code']]['loop'], device):.0f}"
                  for device in DEVICES.values()]
        lines.append(f"| `{name}` | {loop['instructions']:,} instructions, {work:,} {unit}s "
                     f"| {loop['slow']} | {loop['divisions']} | {by_arch['sm_90']['cas']} | "
                     + " | ".join(shares) + " |")
    return "\n".join(lines)


def write_budgets(version, kernels):
    """One line an architecture, so that a change reads well in a diff."""
    lines = ["{", f'  "nvcc": {json.dumps(version)},', '  "kernels": {']
    for i, name in enumerate(sorted(kernels)):
        lines.append(f"    {json.dumps(name)}: {{")
        arches = sorted(kernels[name])
        lines += [f'      "{arch}": {json.dumps(kernels[name][arch])}' + ("," if arch != arches[-1] else "")
                  for arch in arches]
        lines.append("    }" + ("," if i + 1 < len(kernels) else ""))
    BUDGETS.write_text("\n".join(lines + ["  }", "}"]) + "\n")


def check_page(text, page):
    if text in page.read_text():
        return 0
    print(f"{page} does not hold the table of tools/kernels/issue_roof.py:\n{text}")
    return 1


def check_library(arguments):
    cuobjdump, nvdisasm, nvcc = tool("cuobjdump"), tool("nvdisasm"), nvcc_path()
    if not (cuobjdump and nvdisasm and nvcc):
        print("SKIPPED: no cuobjdump, nvdisasm and nvcc (tools/setup.sh fetches the first two from PyPI)")
        return 77
    version = nvcc_version(nvcc)
    kernels = measure(arguments.library, cuobjdump, nvdisasm)
    if not kernels:
        sys.exit(f"no kernels were found in {arguments.library}")
    if arguments.update:
        write_budgets(version, kernels)
        print(f"{BUDGETS}: {len(kernels)} kernels")
        return 0
    lines = compare(json.loads(BUDGETS.read_text()), kernels, version)
    print("\n".join(lines) or f"{len(kernels)} kernels are within their issue budgets (nvcc {version})")
    return 1 if lines else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=pathlib.Path, nargs="?", help="libparkd_kernels_cuda.a")
    parser.add_argument("--update", action="store_true", help="write the measured figures as budgets")
    parser.add_argument("--table", action="store_true", help="print the table of the budgets")
    parser.add_argument("--check", type=pathlib.Path, help="a page that has to hold this table")
    parser.add_argument("--prove", action="store_true", help="show that worse figures are noticed")
    arguments = parser.parse_args()
    if arguments.library:
        return check_library(arguments)
    budgets = json.loads(BUDGETS.read_text())
    if arguments.prove:
        prove(budgets)
    elif arguments.check:
        return check_page(table(budgets), arguments.check)
    elif arguments.table:
        print(table(budgets))
    else:
        parser.error("a library, --table, --check or --prove")
    return 0


if __name__ == "__main__":
    sys.exit(main())
