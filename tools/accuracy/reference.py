"""A GGUF file as Hugging Face's transformers computes it in float64: what accuracy.py compares with.

The package gguf reads and dequantises the file; transformers' own model has its weights.
"""

import sys

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig
from transformers.initialization import no_init_weights

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


class Reference:
    def __init__(self, path):
        self.model, self.types = load(path)

    def logits(self, tokens):
        """(n_tokens, vocab) float64: the logits after each token."""
        with torch.no_grad():
            return self.model(torch.tensor([tokens]), use_cache=False).logits[0].numpy()


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
