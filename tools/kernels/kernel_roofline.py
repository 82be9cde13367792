#!/usr/bin/env python3
"""The most tokens per second that the arithmetic of a decode step allows: a model, not a measurement.

Adds up what one decode step moves and computes, and divides by what a GPU's data sheet promises:
our kernels' bytes are those that kernels/cuda/traffic.json has for the model (memory_bytes, of
1,024 tokens of context), the products' come from the model's shapes. No GPU has run any of it.
Prints the table of kernels/cuda/README.md; --check FILE fails when FILE has another one.
"""
import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TRAFFIC = ROOT / "kernels" / "cuda" / "traffic.json"

# Data sheets: dense bf16 with float sums, memory bandwidth, float FMAs, multiprocessors and boost clock
# (as tools/simulate/sheets.cc), and whose machine code a device runs.
#   A100 SXM: NVIDIA A100 80GB data sheet
#   H100 SXM: NVIDIA H100 data sheet (1,979 TFLOPS with sparsity = 989 dense; 3.35 TB/s)
#   H200 SXM: NVIDIA H200 data sheet (4.8 TB/s)
#   RTX 4090: NVIDIA Ada architecture white paper, appendix A (165.2 TFLOPS dense; 1,008 GB/s)
DEVICES = {
    "A100 SXM": {"flops": 312e12, "bytes_per_s": 2.039e12, "float_flops": 19.5e12,
                 "multiprocessors": 108, "clock_hz": 1.410e9, "code": "sm_80"},
    "H100 SXM": {"flops": 989e12, "bytes_per_s": 3.35e12, "float_flops": 67e12,
                 "multiprocessors": 132, "clock_hz": 1.755e9, "code": "sm_90"},
    "H200 SXM": {"flops": 989e12, "bytes_per_s": 4.8e12, "float_flops": 67e12,
                 "multiprocessors": 132, "clock_hz": 1.755e9, "code": "sm_90"},
    "RTX 4090": {"flops": 165.2e12, "bytes_per_s": 1.008e12, "float_flops": 82.6e12,
                 "multiprocessors": 128, "clock_hz": 2.520e9, "code": "sm_80"},
}
DECODE_DEVICES = ["H100 SXM", "RTX 4090"]  # of the table of decode steps
# The models' own configuration files.
MODELS = {
    "Mistral-7B": {"layers": 32, "hidden": 4096, "ffn": 14336, "heads": 32, "kv_heads": 8,
                   "head_dim": 128, "vocab": 32000},
    "SmolLM2-135M": {"layers": 30, "hidden": 576, "ffn": 1536, "heads": 9, "kv_heads": 3,
                     "head_dim": 64, "vocab": 49152},
}
BATCHES = [1, 8, 64]
CONTEXT_TOKENS = 1024  # as in the measured cases of tests/ops
# Assumed: from the end of one small kernel to the start of the next inside a graph.
GAP_S = 1.5e-6
KERNELS_OF_LAYER = 10  # 2 norms, 4 products, rope, attention and its merge, gate_mul
KERNELS_OF_STEP = 8    # feed, embed, rope table, gather, norm, head, and sampling's two
COPIES_OF_STEP = 3     # tables and sampling parameters to the device, tokens back


def bytes_of_row(model_name):
    """row(kernels...): bytes of device memory that they touch for a row."""
    cases = {case["kernel"]: case["memory_bytes"] / case["rows"]
             for case in json.loads(TRAFFIC.read_text())["cases"] if case["model"] == model_name}
    return lambda *kernels: sum(cases[kernel] for kernel in kernels)


def parts(model_name, model, batch, context):
    """Bytes and flops of one decode step of `batch` sequences, by who moves them."""
    q = model["heads"] * model["head_dim"]
    kv = model["kv_heads"] * model["head_dim"]
    hidden, ffn, layers = model["hidden"], model["ffn"], model["layers"]
    weights = layers * (hidden * (q + 2 * kv) + q * hidden + 3 * hidden * ffn)
    head = hidden * model["vocab"]
    element, real = 2, 4  # bf16; float between kernels
    row = bytes_of_row(model_name)
    return {
        # weights once; inputs as bf16, outputs as float, residual sums read and written
        "products": (element * weights + layers * batch * (
            element * (hidden + q + hidden + ffn) + real * (q + 2 * kv + 2 * ffn + 4 * hidden)),
            2 * weights * batch),
        "output head": (element * head + batch * (element * hidden + real * model["vocab"]),
                        2 * head * batch),
        "attention_decode": (layers * batch * row("attention_decode", "merge_splits"),
                             4 * layers * batch * context * q),
        "rms_norm": ((2 * layers + 1) * batch * row("rms_norm"), 0),
        "rope": (batch * (layers * row("rope_and_store") + row("rope_table")), 0),
        "gate_mul": (layers * batch * row("gate_mul"), 0),
        "tokens and rows": (batch * row("feed_tokens", "embed", "gather_rows"), 0),
        "sampling": (batch * row("scan_logits", "choose_tokens"), 0),
    }


def step(model_name, model, device, batch, context):
    """Seconds of a step at the roofs, and each part's share."""
    seconds = {
        name: max(n_bytes / device["bytes_per_s"], flops / device["flops"])
        for name, (n_bytes, flops) in parts(model_name, model, batch, context).items()
    }
    seconds["gaps between kernels"] = GAP_S * (
        KERNELS_OF_LAYER * model["layers"] + KERNELS_OF_STEP + COPIES_OF_STEP)
    return seconds


def table():
    lines = [
        "| model | device | sequences | tokens/s, roofs alone | tokens/s with gaps | where the time goes |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for model_name, model in MODELS.items():
        for device_name in DECODE_DEVICES:
            for batch in BATCHES:
                seconds = step(model_name, model, DEVICES[device_name], batch, CONTEXT_TOKENS)
                total = sum(seconds.values())
                roofs = total - seconds["gaps between kernels"]
                order = sorted(seconds, key=seconds.get, reverse=True)[:3]
                shares = ", ".join(f"{name} {100 * seconds[name] / total:.0f} %" for name in order)
                lines.append(f"| {model_name} | {device_name} | {batch} | {batch / roofs:,.0f} "
                             f"| {batch / total:,.0f} | {shares} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", type=pathlib.Path, help="a page that has to hold this table")
    arguments = parser.parse_args()
    text = table()
    if arguments.check is None:
        print(text)
        return 0
    if text in arguments.check.read_text():
        return 0
    print(f"{arguments.check} does not hold the table of tools/kernels/kernel_roofline.py:\n{text}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
