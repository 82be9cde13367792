#!/usr/bin/env python3
"""Writes tests/golden/smollm2-135m/*.json: what an independent implementation makes of the model.

    python3 -m venv venv
    venv/bin/pip install numpy==2.4.6 gguf==0.19.0 tokenizers==0.23.3 jinja2==3.1.6
    venv/bin/python tools/golden/reference.py MODEL.gguf tests/golden/smollm2-135m

Shares nothing with parkd. The GGUF is read and dequantised by the PyPI package gguf; ids come from
the PyPI package tokenizers, built from the file's vocabulary and merges; prompts are rendered by
jinja2 from the file's template; the forward pass below is numpy. Weights and activations are
float64 throughout (the dequantised values are float32, as gguf gives them), so the reference's own
error is far below every threshold that is tested against it. Sources of the arithmetic: Touvron et
al., "LLaMA" (2023); Su et al., "RoFormer" (2021); RMSNorm, Zhang and Sennrich (2019).
"""

import hashlib
import json
import os
import sys
import time

import jinja2
import numpy as np
from gguf import GGUFReader, dequantize
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from prompts import PROMPTS, STRINGS

NEW_TOKENS = 64
TOP = 5


def read_tokenizer(fields):
    texts = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    assert fields["tokenizer.ggml.model"].contents() == "gpt2"
    assert fields["tokenizer.ggml.pre"].contents() == "smollm"
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(texts)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    plain = Tokenizer.from_str(tokenizer.to_str())  # without special tokens: all text is text
    special = [AddedToken(t, special=True, normalized=False) for t, k in zip(texts, types) if k != 1]
    tokenizer.add_special_tokens(special)
    assert tokenizer.get_vocab_size() == len(texts)
    return tokenizer, plain


def render(fields, messages):
    # As Hugging Face's apply_chat_template sets Jinja up.
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(fields["tokenizer.chat_template"].contents())
    return template.render(messages=messages, add_generation_prompt=True)


class Llama:
    """A Llama decoder with a KV cache for one sequence."""

    def __init__(self, reader):
        fields = {name: field for name, field in reader.fields.items()}
        get = lambda key: fields["llama." + key].contents()
        self.n_layers = get("block_count")
        self.n_heads = get("attention.head_count")
        self.n_kv_heads = get("attention.head_count_kv")
        self.head_dim = get("embedding_length") // self.n_heads
        self.eps = get("attention.layer_norm_rms_epsilon")
        base = float(get("rope.freq_base"))
        self.inv_freq = base ** (-2.0 * np.arange(self.head_dim // 2) / self.head_dim)
        self.w = {
            t.name: dequantize(t.data, t.tensor_type).astype(np.float64) for t in reader.tensors
        }
        if "output.weight" not in self.w:
            self.w["output.weight"] = self.w["token_embd.weight"]
        self.reset()

    def reset(self):
        self.keys = [None] * self.n_layers
        self.values = [None] * self.n_layers
        self.length = 0

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.w[name]

    def rope(self, x, positions):
        # GGUF's llama layout: pairs (2i, 2i + 1). x: (rows, heads, head_dim)
        angle = positions[:, None] * self.inv_freq
        cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
        out = np.empty_like(x)
        out[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
        out[..., 1::2] = x[..., 0::2] * sin + x[..., 1::2] * cos
        return out

    def attend(self, layer, q, k, v):
        if self.length > 0:
            k = np.concatenate([self.keys[layer], k])
            v = np.concatenate([self.values[layer], v])
        self.keys[layer], self.values[layer] = k, v
        rows, group = q.shape[0], self.n_heads // self.n_kv_heads
        k = np.repeat(k, group, axis=1).transpose(1, 2, 0)  # (heads, head_dim, length)
        v = np.repeat(v, group, axis=1).transpose(1, 0, 2)
        scores = q.transpose(1, 0, 2) @ k / np.sqrt(self.head_dim)
        at = np.arange(k.shape[2])[None, :]
        scores[:, at > (self.length + np.arange(rows))[:, None]] = -np.inf
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        out = scores / scores.sum(-1, keepdims=True) @ v
        return out.transpose(1, 0, 2).reshape(rows, -1)

    def forward(self, tokens):
        """Log-probabilities of the token after the last one; the cache grows by `tokens`."""
        positions = self.length + np.arange(len(tokens), dtype=np.float64)
        x = self.w["token_embd.weight"][tokens]
        for i in range(self.n_layers):
            w = lambda name: self.w[f"blk.{i}.{name}.weight"]
            h = self.norm(x, f"blk.{i}.attn_norm.weight")
            heads = lambda y: y.reshape(len(tokens), -1, self.head_dim)
            q, k, v = (heads(h @ w(n).T) for n in ("attn_q", "attn_k", "attn_v"))
            q, k = self.rope(q, positions), self.rope(k, positions)
            x = x + self.attend(i, q, k, v) @ w("attn_output").T
            h = self.norm(x, f"blk.{i}.ffn_norm.weight")
            gate = h @ w("ffn_gate").T
            x = x + (gate / (1 + np.exp(-gate)) * (h @ w("ffn_up").T)) @ w("ffn_down").T
        self.length += len(tokens)
        logits = self.norm(x[-1], "output_norm.weight") @ self.w["output.weight"].T
        logits -= logits.max()
        return logits - np.log(np.exp(logits).sum())


def generate(model, tokenizer, fields, name, messages, end_tokens):
    text = render(fields, messages)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    model.reset()
    logprobs = model.forward(ids)
    generated, tops, gaps = [], [], []
    # Past an end token the continuation is still well defined, so every prompt has as many
    # positions; "ends_at" says where a server would stop.
    for _ in range(NEW_TOKENS):
        best = np.argsort(-logprobs, kind="stable")[:TOP]
        tops.append([[int(t), round(float(logprobs[t]), 5)] for t in best])
        gaps.append(round(float(logprobs[best[0]] - logprobs[best[1]]), 5))
        generated.append(int(best[0]))
        logprobs = model.forward([int(best[0])])
    ends_at = next((i for i, t in enumerate(generated) if t in end_tokens), NEW_TOKENS)
    return {
        "name": name,
        "messages": messages,
        "rendered": text,
        "prompt": ids,
        "generated": generated,
        "ends_at": ends_at,
        "text": tokenizer.decode(generated[:ends_at], skip_special_tokens=True),
        "top": tops,
        "gap": gaps,
    }


def write(path, header, rows_name, rows):
    with open(path, "w", encoding="ascii") as file:
        file.write("{" + json.dumps(header)[1:-1] + f', "{rows_name}": [\n')
        file.write(",\n".join(json.dumps(row, separators=(",", ":")) for row in rows))
        file.write("\n]}\n")


def main():
    model_path, folder = sys.argv[1:3]
    os.makedirs(folder, exist_ok=True)
    reader = GGUFReader(model_path)
    tokenizer, plain = read_tokenizer(reader.fields)
    with open(model_path, "rb") as file:
        header = {"model_sha256": hashlib.sha256(file.read()).hexdigest()}

    strings = list(dict.fromkeys(STRINGS))
    rows = [{"text": s, "ids": plain.encode(s, add_special_tokens=False).ids} for s in strings]
    write(os.path.join(folder, "tokenizer.json"), header, "strings", rows)

    texts = reader.fields["tokenizer.ggml.tokens"].contents()
    end_tokens = {texts.index("<|im_end|>"), texts.index("<|endoftext|>")}
    end_tokens.add(reader.fields["tokenizer.ggml.eos_token_id"].contents())
    model = Llama(reader)
    prompts = []
    for name, messages in PROMPTS:
        start = time.time()
        row = generate(model, tokenizer, reader.fields, name, messages, end_tokens)
        prompts.append(row)
        print(f"{name}: {len(row['prompt'])} tokens, {time.time() - start:.1f} s, "
              f"smallest gap {min(row['gap'])}", file=sys.stderr)
    write(os.path.join(folder, "prompts.json"), header, "prompts", prompts)


if __name__ == "__main__":
    main()
