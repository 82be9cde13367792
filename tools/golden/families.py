#!/usr/bin/env python3
"""Writes tests/golden/families.json: what Hugging Face's transformers makes of tiny random models.

    python3 -m venv venv
    venv/bin/pip install numpy==2.4.6 torch==2.15.0 transformers==5.24.0
    venv/bin/python tools/golden/families.py build/dev/tools/parkd_make_tiny_model tests/golden/families.json

A model is what parkd_make_tiny_model writes for the options below; the test makes the same bytes
again (FNV-1a of the GGUF file is in the file). transformers reads the directory that it writes, by
itself and in float64, so the reference's own error is far below the tolerance that stands in the
file; nothing of parkd takes part. That the GGUF file is the same model, the test shows by its bits.
Beside stands config.json as transformers writes it.
"""

import importlib.metadata
import json
import subprocess
import sys
import tempfile

import numpy as np
import torch
from transformers import AutoModelForCausalLM

# Of parkd_make_tiny_model. head_dim is never hidden / heads.
CASES = [
    {
        "name": "qwen3 tied",
        "options": {"architecture": "qwen3", "seed": 11, "layers": 3, "hidden": 64, "ffn": 96,
                    "heads": 4, "kv-heads": 2, "head-dim": 32, "tied": True},
    },
    {
        "name": "qwen3 untied, three heads on each kv head",
        "options": {"architecture": "qwen3", "seed": 12, "layers": 2, "hidden": 96, "ffn": 160,
                    "heads": 6, "kv-heads": 2, "head-dim": 48, "tied": False},
    },
    {
        "name": "llama, frequencies slowed down, a kv head for each head",
        "options": {"architecture": "llama", "seed": 13, "layers": 2, "hidden": 64, "ffn": 96,
                    "heads": 2, "kv-heads": 2, "head-dim": 48, "tied": False,
                    "rope-scaling": "llama3"},
    },
    {
        "name": "llama tied, eight heads on a kv head",
        "options": {"architecture": "llama", "seed": 14, "layers": 2, "hidden": 96, "ffn": 128,
                    "heads": 8, "kv-heads": 1, "head-dim": 16, "tied": True},
    },
    {
        "name": "mistral",
        "options": {"architecture": "mistral", "seed": 15, "layers": 2, "hidden": 96, "ffn": 160,
                    "heads": 6, "kv-heads": 2, "head-dim": 32, "tied": False},
    },
    {
        "name": "qwen2 tied",
        "options": {"architecture": "qwen2", "seed": 16, "layers": 2, "hidden": 64, "ffn": 96,
                    "heads": 4, "kv-heads": 2, "head-dim": 32, "tied": True},
    },
    {
        "name": "qwen2 untied, three heads on each kv head",
        "options": {"architecture": "qwen2", "seed": 17, "layers": 2, "hidden": 96, "ffn": 160,
                    "heads": 6, "kv-heads": 2, "head-dim": 48, "tied": False},
    },
    {
        "name": "mistral with a window",
        "options": {"architecture": "mistral", "seed": 18, "layers": 2, "hidden": 64, "ffn": 96,
                    "heads": 4, "kv-heads": 2, "head-dim": 32, "tied": False,
                    "window": 20, "first-windowed": 0},
    },
    {
        "name": "qwen2, windows of its later layers",
        "options": {"architecture": "qwen2", "seed": 19, "layers": 3, "hidden": 64, "ffn": 96,
                    "heads": 4, "kv-heads": 2, "head-dim": 48, "tied": False,
                    "window": 9, "first-windowed": 1},
    },
    {
        "name": "qwen3, a window as long as a block in its last layer",
        "options": {"architecture": "qwen3", "seed": 20, "layers": 2, "hidden": 64, "ffn": 96,
                    "heads": 4, "kv-heads": 1, "head-dim": 32, "tied": True,
                    "window": 32, "first-windowed": 1},
    },
    {
        "name": "ministral3 tied, over three borders of its query scale",
        "options": {"architecture": "ministral3", "seed": 21, "layers": 2, "hidden": 64, "ffn": 96,
                    "heads": 4, "kv-heads": 2, "head-dim": 32, "tied": True},
    },
    {
        "name": "ministral3 untied, with a window",
        "options": {"architecture": "ministral3", "seed": 22, "layers": 2, "hidden": 96, "ffn": 128,
                    "heads": 6, "kv-heads": 2, "head-dim": 48, "tied": False,
                    "window": 20, "first-windowed": 0},
    },
    {
        "name": "qwen2, yarn with its attention factor",
        "options": {"architecture": "qwen2", "seed": 23, "layers": 2, "hidden": 64, "ffn": 96,
                    "heads": 4, "kv-heads": 2, "head-dim": 32, "tied": True,
                    "rope-scaling": "yarn"},
    },
    {
        "name": "smollm3 tied, its fourth layer without a rope",
        "options": {"architecture": "smollm3", "seed": 24, "layers": 5, "hidden": 64, "ffn": 96,
                    "heads": 4, "kv-heads": 2, "head-dim": 32, "tied": True},
    },
    {
        "name": "smollm3 untied, three heads on each kv head",
        "options": {"architecture": "smollm3", "seed": 25, "layers": 4, "hidden": 96, "ffn": 128,
                    "heads": 6, "kv-heads": 2, "head-dim": 48, "tied": False},
    },
    {
        "name": "gemma3, its sixth layer sees all",
        "options": {"architecture": "gemma3_text", "seed": 26, "layers": 7, "hidden": 64,
                    "ffn": 96, "heads": 4, "kv-heads": 1, "head-dim": 32, "tied": True,
                    "window": 20},
    },
    {
        "name": "gemma3, every second layer sees all and has a slowed rope",
        "options": {"architecture": "gemma3_text", "seed": 27, "layers": 3, "hidden": 96,
                    "ffn": 160, "heads": 6, "kv-heads": 2, "head-dim": 48, "tied": True,
                    "window": 9, "window-period": 2, "rope-scaling": "linear"},
    },
    {
        "name": "gemma3, scores divided as the largest model's",
        "options": {"architecture": "gemma3_text", "seed": 28, "layers": 2, "hidden": 64,
                    "ffn": 96, "heads": 4, "kv-heads": 2, "head-dim": 16, "tied": True,
                    "window": 33, "window-period": 2, "query-divisor": 41},
    },
    {
        "name": "phi3, three heads on each kv head",
        "options": {"architecture": "phi3", "seed": 29, "layers": 2, "hidden": 96, "ffn": 160,
                    "heads": 6, "kv-heads": 2, "head-dim": 48, "tied": False},
    },
    {
        "name": "phi3 with a window, its heads turn in part",
        "options": {"architecture": "phi3", "seed": 30, "layers": 3, "hidden": 64, "ffn": 96,
                    "heads": 4, "kv-heads": 4, "head-dim": 32, "tied": False, "window": 20,
                    "turned": 24},
    },
    # Phi3Config wants divisors by hidden / heads.
    {
        "name": "phi3, all prompts beyond the original context",
        "options": {"architecture": "phi3", "seed": 31, "layers": 2, "hidden": 192, "ffn": 96,
                    "heads": 6, "kv-heads": 2, "head-dim": 32, "tied": False,
                    "rope-scaling": "longrope"},
    },
    {
        "name": "phi3 tied, in part, all prompts beyond the original context",
        "options": {"architecture": "phi3", "seed": 32, "layers": 3, "hidden": 128, "ffn": 160,
                    "heads": 4, "kv-heads": 2, "head-dim": 32, "tied": True, "turned": 24,
                    "rope-scaling": "longrope"},
    },
    {
        "name": "phi3 tied, in part, a context that is the original one",
        "options": {"architecture": "phi3", "seed": 33, "layers": 2, "hidden": 128, "ffn": 96,
                    "heads": 8, "kv-heads": 1, "head-dim": 16, "tied": True, "turned": 12,
                    "rope-scaling": "longrope", "context": 64, "original-context": 64},
    },
]  # fmt: skip
PROMPT_TOKENS = 45  # over the border of a block of 32
NEW_TOKENS = 12
TOP = 8
# The float path sums in another order; a wrong op shows as 0.1 and more.
TOLERANCE = 1e-4


def fnv1a64(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def write_model(program, options, path, *more):
    arguments = [program, path, *more]
    for name, value in options.items():
        if value is True:
            arguments.append(f"--{name}")
        elif value is not False:
            arguments += [f"--{name}", str(value)]
    subprocess.run(arguments, check=True)


def load(path):
    model = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float64, attn_implementation="eager"
    )
    return model.eval()


def logits_of(model, tokens):
    # transformers norms and rotates in float32 whatever the weights' type unless told otherwise;
    # the tolerance covers that.
    with torch.no_grad():
        return model(torch.tensor([tokens]), use_cache=False).logits[0].double().numpy()


def answer(model, seed):
    vocab = model.config.vocab_size
    tokens = [int(t) for t in np.random.default_rng(seed).integers(3, vocab, PROMPT_TOKENS)]
    for _ in range(NEW_TOKENS):  # greedy
        tokens.append(int(np.argmax(logits_of(model, tokens)[-1])))
    rows = []
    for row in logits_of(model, tokens):
        best = [int(t) for t in np.argsort(-row, kind="stable")[:TOP]]
        # And some from all over the vocabulary.
        others = list(range(len(rows) % 37, vocab, 37))
        rows.append([[t, round(float(row[t]), 6)] for t in best + others])
    return {"tokens": tokens, "prompt_tokens": PROMPT_TOKENS, "logits": rows}


def main():
    program, out = sys.argv[1:]
    cases = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            gguf = folder + "/model.gguf"
            write_model(program, case["options"], gguf)
            with open(gguf, "rb") as file:
                digest = fnv1a64(file.read())
            write_model(program, case["options"], folder, "--directory")
            model = load(folder)
            config = json.loads(model.config.to_json_string())
            cases.append(
                case
                | {"fnv1a64": digest, "config": config}
                | answer(model, case["options"]["seed"])
            )
    versions = {p: importlib.metadata.version(p) for p in ("torch", "transformers", "numpy")}
    with open(out, "w", encoding="utf-8") as file:
        head = {"made_by": versions, "tolerance": TOLERANCE}
        file.write(json.dumps(head)[:-1] + ', "cases": [\n')
        file.write(",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]}\n")


if __name__ == "__main__":
    main()
