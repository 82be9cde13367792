#!/usr/bin/env python3
"""Writes tests/golden/formats.json: what the PyPI package gguf makes of blocks of every type.

    python3 -m venv venv
    venv/bin/pip install numpy==2.3.5 gguf==0.19.0
    venv/bin/python tools/golden/formats.py tests/golden/formats.json
    venv/bin/python tools/golden/formats.py --file MODEL.gguf   # a line for each tensor of a real file

The blocks are bytes of one generator that the test has too (xorshift64*), so every code and every
factor of a scale occurs; halves that are infinite or NaN lose their highest exponent bit, an MXFP4
exponent above 252 becomes 128. The golden is the FNV-1a of the floats' bytes, and the first floats in
full, so that a fault can be read.
"""

import json
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, dequantize

TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K",
         "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"]  # fmt: skip
BYTES = 1 << 16
# Where a block has halves.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
          "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
          "F16": [0], "BF16": [0], "F32": [2]}  # fmt: skip


def fnv1a64(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def random_bytes(seed, n):
    state = seed
    out = bytearray()
    for _ in range(n):
        state ^= state >> 12
        state = (state ^ state << 25) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 27
        out.append((state * 0x2545F4914F6CDD1D & 0xFFFFFFFFFFFFFFFF) >> 56)
    return out


def blocks_of(name):
    size = GGML_QUANT_SIZES[GGMLQuantizationType[name]][1]
    data = random_bytes(GGMLQuantizationType[name].value + 1, BYTES // size * size)
    # The exponent's highest bit, in the high byte of a half (bf16 and f32 have theirs there too).
    for at in range(0, len(data), size):
        for half in HALVES.get(name, []):
            wide = name in ("BF16", "F32")
            exponent = data[at + half + 1] << 8 | data[at + half]
            mask = 0x7F80 if wide else 0x7C00
            if exponent & mask == mask:
                data[at + half + 1] ^= 0x40
        if name == "MXFP4" and data[at] > 252:
            data[at] = 128
    return bytes(data)


def print_file(path):
    for tensor in GGUFReader(path).tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        words = np.ascontiguousarray(values, dtype="<f4").view("<u4").ravel().astype(np.uint64)
        places = np.arange(1, words.size + 1, dtype=np.uint64)
        with np.errstate(over="ignore"):
            print(f"{tensor.name} {tensor.tensor_type.name} {words.size} {int((words * places).sum()):016x}")


def main():
    if sys.argv[1] == "--file":
        print_file(sys.argv[2])
        return
    cases = []
    for name in TYPES:
        data = np.frombuffer(blocks_of(name), dtype=np.uint8)
        kind = GGMLQuantizationType[name]
        values = np.ascontiguousarray(dequantize(data, kind), dtype="<f4")
        assert np.isfinite(values).all(), name
        cases.append({
            "type": name,
            "bytes": data.size,
            "elements": values.size,
            "fnv1a64": fnv1a64(values.tobytes()),
            "first": [f"{word:08x}" for word in values.view("<u4").ravel()[:8]],
        })  # fmt: skip
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump({"made_by": "tools/golden/formats.py, gguf 0.19.0", "cases": cases}, file, indent=1)
        file.write("\n")


main()
