#!/usr/bin/env python3
"""Writes tests/golden/families.json: what Hugging Face's transformers makes of tiny random models.

    python3 -m venv venv
    venv/bin/pip install numpy==2.4.6 gguf==0.19.0 torch==2.15.0 transformers==5.24.0
    venv/bin/python tools/golden/families.py build/dev/tools/parkd_make_tiny_model tests/golden/families.json

A model is what parkd_make_tiny_model writes for the options below; the test makes the same bytes
again (their FNV-1a is in the file). The GGUF is read by the PyPI package gguf, and its tensors go
into the model class of transformers by name; that class computes in float64, so the reference's own
error is far below the tolerance that stands in the file. Nothing of parkd takes part.
"""

import importlib.metadata
import json
import subprocess
import sys
import tempfile

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from transformers import Qwen3Config, Qwen3ForCausalLM

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
]  # fmt: skip
PROMPT_TOKENS = 45  # over the border of a block of 32
NEW_TOKENS = 12
TOP = 8
# The float path sums in another order; a wrong op shows as 0.1 and more.
TOLERANCE = 1e-4

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def fnv1a64(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def write_model(program, options, path):
    arguments = [program, path]
    for name, value in options.items():
        if value is True:
            arguments.append(f"--{name}")
        elif value is not False:
            arguments += [f"--{name}", str(value)]
    subprocess.run(arguments, check=True)


def name_in_transformers(name):
    name = name.removesuffix(".weight")
    if not name.startswith("blk."):
        return NAMES[name] + ".weight"
    _, layer, rest = name.split(".")
    return f"model.layers.{layer}.{LAYER_NAMES[rest]}.weight"


def load(path):
    reader = GGUFReader(path)
    get = lambda key: reader.fields["qwen3." + key].contents()
    weights = {
        name_in_transformers(t.name): torch.from_numpy(
            dequantize(t.data, t.tensor_type).astype(np.float64)
        )
        for t in reader.tensors
    }
    tied = "lm_head.weight" not in weights
    config = Qwen3Config(
        vocab_size=len(reader.fields["tokenizer.ggml.tokens"].contents()),
        hidden_size=get("embedding_length"),
        intermediate_size=get("feed_forward_length"),
        num_hidden_layers=get("block_count"),
        num_attention_heads=get("attention.head_count"),
        num_key_value_heads=get("attention.head_count_kv"),
        head_dim=get("attention.key_length"),
        max_position_embeddings=get("context_length"),
        rms_norm_eps=get("attention.layer_norm_rms_epsilon"),
        rope_theta=get("rope.freq_base"),
        rope_parameters={"rope_type": "default", "rope_theta": get("rope.freq_base")},
        tie_word_embeddings=tied,
        attention_bias=False,
        use_sliding_window=False,
        attn_implementation="eager",
    )
    model = Qwen3ForCausalLM(config).to(torch.float64).eval()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= ({"lm_head.weight"} if tied else set()), missing
    model.tie_weights()
    return model


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
        with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
            write_model(program, case["options"], file.name)
            model = load(file.name)
            with open(file.name, "rb") as again:
                digest = fnv1a64(again.read())
            cases.append(case | {"fnv1a64": digest} | answer(model, case["options"]["seed"]))
    versions = {p: importlib.metadata.version(p) for p in ("torch", "transformers", "gguf", "numpy")}
    with open(out, "w", encoding="utf-8") as file:
        head = {"made_by": versions, "tolerance": TOLERANCE}
        file.write(json.dumps(head)[:-1] + ', "cases": [\n')
        file.write(",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]}\n")


if __name__ == "__main__":
    main()
