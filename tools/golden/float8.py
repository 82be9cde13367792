#!/usr/bin/env python3
"""Prints the constants of tests/weights/float8_test.cc: what torch makes of F8_E4M3.

    venv/bin/pip install numpy==2.4.6 torch==2.15.0
    venv/bin/python tools/golden/float8.py

The FNV-1a of the 256 codes' floats (NaN as 0x7FC00000), and of a matrix of (130, 200) codes whose
blocks of 128 x 128 have scales, each number a product in float32.
"""

import numpy as np
import torch


def fnv1a64(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def floats_of(codes):
    return torch.tensor(codes, dtype=torch.uint8).view(torch.float8_e4m3fn).to(torch.float32)


def main():
    values = floats_of(list(range(256))).numpy().copy()
    values.view(np.uint32)[np.isnan(values)] = 0x7FC00000
    print("codes", fnv1a64(values.astype("<f4").tobytes()))
    codes = [(row * 37 + column * 11) % 127 + (row + column) % 2 * 128
             for row in range(130) for column in range(200)]  # fmt: skip
    scales = torch.tensor([[0.0123, 1.75], [3.1e-5, 0.9]], dtype=torch.float32)
    wide = scales.repeat_interleave(128, 0).repeat_interleave(128, 1)[:130, :200]
    matrix = floats_of(codes).reshape(130, 200) * wide
    print("matrix", fnv1a64(matrix.numpy().astype("<f4").tobytes()))


if __name__ == "__main__":
    main()
