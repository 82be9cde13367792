#!/usr/bin/env python3
"""What parkd makes of a real model, against the same file in float64 by Hugging Face's transformers.

    python3 -m venv venv
    venv/bin/pip install numpy==2.4.6 torch==2.15.0 transformers==5.24.0 gguf==0.19.0
    cmake --build --preset release --target parkd_logits
    venv/bin/python tools/accuracy/accuracy.py build/release/tools/accuracy/parkd_logits MODEL.gguf

The file is read and dequantised by the package gguf; transformers' own model has its weights in
float64 and is given parkd's token ids of each text of texts.txt, and of all of them behind each
other, cut at --long tokens, which goes past a window. For each --dtype of parkd's CPU backend it
prints the perplexity, the mean and the largest Kullback-Leibler divergence from the reference, in
nats a token, the worst difference of the log-probability of a text's token, and how many of the
most likely tokens are the same. f32 is the float path; bf16 what serves.
"""

import argparse
import json
import os
import subprocess
import sys

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig
from transformers.initialization import no_init_weights

HERE = os.path.dirname(os.path.abspath(__file__))
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
LLAMA_LAYER = LAYER | {"ffn_norm": "post_attention_layernorm"}
GEMMA_LAYER = LAYER | {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def keys_of(reader):
    prefix = reader.fields["general.architecture"].contents() + "."
    return {
        name.removeprefix(prefix): field.contents()
        for name, field in reader.fields.items()
        if name.startswith(prefix)
    }


# What the references below do not compute, where it has another value than the one that means none.
ROPE_SCALING = {
    "rope.scaling.type": "none",
    "rope.scaling.factor": 1,
    "rope.scale_linear": 1,
    "rope.scaling.attn_factor": 1,
}
GEMMA_LAYERS_OF_OTHER_SCALE = 62  # its scores are not divided by the root of head_dim


def refuse_what_has_no_reference(path, architecture, keys, tensors):
    refused = [
        f"{name} {value}"
        for name, value in keys.items()
        if name.startswith("rope.scaling.") or name == "rope.scale_linear"
        if value != ROPE_SCALING.get(name)
    ]
    refused += [
        f"{name} {keys[name]}"
        for name in ("rope.freq_base_swa", "attention.sliding_window_pattern")
        if name in keys
    ]
    if "rope_freqs.weight" in tensors:
        refused.append("tensor rope_freqs.weight")
    if architecture == "gemma3" and keys["block_count"] == GEMMA_LAYERS_OF_OTHER_SCALE:
        refused.append(f"block_count {keys['block_count']}")
    if refused:
        sys.exit(f"{path}: the reference here does not know {', '.join(refused)}")


def gemma_config(keys, vocab):
    n_layers = keys["block_count"]
    return Gemma3TextConfig(
        vocab_size=vocab,
        hidden_size=keys["embedding_length"],
        intermediate_size=keys["feed_forward_length"],
        num_hidden_layers=n_layers,
        num_attention_heads=keys["attention.head_count"],
        num_key_value_heads=keys["attention.head_count_kv"],
        head_dim=keys["attention.key_length"],
        query_pre_attn_scalar=keys["attention.key_length"],
        max_position_embeddings=keys["context_length"],
        rms_norm_eps=keys["attention.layer_norm_rms_epsilon"],
        sliding_window=keys["attention.sliding_window"],
        layer_types=[
            "full_attention" if (i + 1) % 6 == 0 else "sliding_attention" for i in range(n_layers)
        ],
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": keys["rope.freq_base"]},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
    )


def llama_config(keys, vocab):
    n_heads = keys["attention.head_count"]
    return LlamaConfig(
        vocab_size=vocab,
        hidden_size=keys["embedding_length"],
        intermediate_size=keys["feed_forward_length"],
        num_hidden_layers=keys["block_count"],
        num_attention_heads=n_heads,
        num_key_value_heads=keys["attention.head_count_kv"],
        head_dim=keys.get("attention.key_length", keys["embedding_length"] // n_heads),
        max_position_embeddings=keys["context_length"],
        rms_norm_eps=keys["attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": keys["rope.freq_base"]},
        tie_word_embeddings=True,
    )


def halves_apart(weight, head_dim):
    """The rows of llama's q and k as transformers has them: GGUF has pairs beside each other."""
    rows, columns = weight.shape
    pairs = weight.reshape(rows // head_dim, head_dim // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def load(path):
    reader = GGUFReader(path)
    architecture = reader.fields["general.architecture"].contents()
    keys = keys_of(reader)
    weights = {t.name: dequantize(t.data, t.tensor_type) for t in reader.tensors}
    types = sorted({t.tensor_type.name for t in reader.tensors})
    vocab = weights["token_embd.weight"].shape[0]
    is_gemma = architecture == "gemma3"
    if not is_gemma and architecture != "llama":
        sys.exit(f"{path}: no reference of architecture {architecture} is written here yet")
    refuse_what_has_no_reference(path, architecture, keys, weights)
    config = gemma_config(keys, vocab) if is_gemma else llama_config(keys, vocab)
    with no_init_weights():
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.float64, attn_implementation="eager"
        )
    names = GEMMA_LAYER if is_gemma else LLAMA_LAYER
    state = {}
    for name, weight in weights.items():
        weight = weight.astype(np.float64)
        if is_gemma and name.endswith("norm.weight"):
            weight = weight - 1  # transformers adds it again
        if name.startswith("blk."):
            _, layer, tensor, _ = name.split(".")
            if not is_gemma and tensor in ("attn_q", "attn_k"):
                weight = halves_apart(weight, config.head_dim)
            name = f"model.layers.{layer}.{names[tensor]}.weight"
        else:
            name = {
                "token_embd.weight": "model.embed_tokens.weight",
                "output_norm.weight": "model.norm.weight",
                "output.weight": "lm_head.weight",
            }[name]
        state[name] = torch.from_numpy(np.ascontiguousarray(weight))
    state.setdefault("lm_head.weight", state["model.embed_tokens.weight"])
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval(), types


class Parkd:
    def __init__(self, program, path, dtype):
        self.process = subprocess.Popen(
            [program, path, "--dtype", dtype], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, request):
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        head = json.loads(self.process.stdout.readline())
        n, vocab = len(head["tokens"]), head["vocab"]
        data = self.process.stdout.read(n * vocab * 4)
        return head["tokens"], np.frombuffer(data, dtype="<f4").reshape(n, vocab)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def log_softmax(logits):
    logits = logits.astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


class Totals:
    def __init__(self):
        self.n = self.same = 0
        self.nll = self.reference_nll = self.kl = self.worst_kl = self.worst = 0.0

    def add(self, tokens, reference, logits, step=64):
        for first in range(0, len(tokens) - 1, step):
            last = min(first + step, len(tokens) - 1)
            rows = slice(first, last)
            p, q = log_softmax(reference[rows]), log_softmax(logits[rows])
            at = np.arange(last - first), tokens[first + 1 : last + 1]
            kl = (np.exp(p) * (p - q)).sum(-1)
            self.n += last - first
            self.same += int((p.argmax(-1) == q.argmax(-1)).sum())
            self.nll -= q[at].sum()
            self.reference_nll -= p[at].sum()
            self.kl += kl.sum()
            self.worst_kl = max(self.worst_kl, kl.max())
            self.worst = max(self.worst, np.abs(p[at] - q[at]).max())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="parkd_logits")
    parser.add_argument("model", help="a GGUF file of llama or gemma3")
    parser.add_argument("--dtype", nargs="+", default=["f32", "bf16"])
    parser.add_argument("--long", type=int, default=900, help="tokens of the long text; 0: none")
    arguments = parser.parse_args()

    with open(os.path.join(HERE, "texts.txt"), encoding="utf-8") as file:
        whole = file.read()
    texts, text = [], ""
    for line in whole.splitlines():  # code goes on in indented lines
        if text and not line.startswith((" ", "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT")):
            texts.append(text)
            text = ""
        text += ("\n" if text else "") + line
    texts.append(text)

    model, types = load(arguments.model)
    runs = {dtype: Parkd(arguments.program, arguments.model, dtype) for dtype in arguments.dtype}
    totals = {dtype: Totals() for dtype in runs}
    requests = [{"text": text} for text in texts]
    if arguments.long > 0:
        requests.append({"text": whole, "most": arguments.long})
    for number, request in enumerate(requests):
        reference = None
        for dtype, parkd in runs.items():
            tokens, logits = parkd.ask(request)
            if reference is None:
                with torch.no_grad():
                    output = model(torch.tensor([tokens]), use_cache=False).logits[0]
                reference = output.numpy()
            totals[dtype].add(tokens, reference, logits)
        print(f"text {number + 1} of {len(requests)}: {len(tokens)} tokens", file=sys.stderr)
    for parkd in runs.values():
        parkd.close()
    print(f"{os.path.basename(arguments.model)}: {', '.join(types)}; {len(requests)} texts")
    for dtype, t in totals.items():
        print(
            f"{dtype}: {t.n} tokens, perplexity {np.exp(t.nll / t.n):.4f} (reference "
            f"{np.exp(t.reference_nll / t.n):.4f}), KL mean {t.kl / t.n:.3g} worst {t.worst_kl:.3g}, "
            f"log-probability of a token worst {t.worst:.3g}, same best token {t.same} of {t.n}"
        )


if __name__ == "__main__":
    main()
