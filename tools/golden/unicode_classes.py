#!/usr/bin/env python3
"""Writes tests/golden/unicode_classes.json: which code points the reference takes for what.

    python3 -m venv venv
    venv/bin/pip install tokenizers==0.23.3
    venv/bin/python tools/golden/unicode_classes.py tests/golden/unicode_classes.json

letters and numbers are what \\p{L} and \\p{N} match in the PyPI package tokenizers (Oniguruma, with
the tables of Unicode 16), digits what its Digits rule isolates (Rust, Unicode 17). Each is a list of
ranges [first, last]. Shares nothing with parkd.
"""

import json
import sys

from tokenizers import Regex, pre_tokenizers


def ranges_isolated_by(rule):
    ranges = []
    for code in range(0x110000):
        if 0xD800 <= code < 0xE000 or len(rule.pre_tokenize_str("!" + chr(code) + "!")) != 3:
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return ranges


def main(path):
    classes = {
        "letters": pre_tokenizers.Split(Regex(r"\p{L}"), behavior="isolated"),
        "numbers": pre_tokenizers.Split(Regex(r"\p{N}"), behavior="isolated"),
        "digits": pre_tokenizers.Digits(individual_digits=True),
    }
    lines = [
        json.dumps(name) + ":" + json.dumps(ranges_isolated_by(rule), separators=(",", ":"))
        for name, rule in classes.items()
    ]
    with open(path, "w", encoding="ascii") as file:
        file.write("{" + ",\n".join(lines) + "}\n")


main(sys.argv[1])
