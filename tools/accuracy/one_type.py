"""A llama model whose matrices are all of one type, so that a type's own error can be seen.

llama.cpp's quantiser makes the type's bytes of a GGUF file's dequantised weights. Types with blocks
of 256 need rows of a multiple of 256; the demo model has rows of 576. So the model is widened first
with zeros that change nothing it computes: the residual stream gets columns that stay 0, each group
of heads some whose output meets zeros. RMSNorm's mean is then over more columns, so its weights and
epsilon are scaled.
"""

import math
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFWriter, dequantize

from programs import llama_cpp_library
from reference import keys_of

TYPES = (
    "F32 F16 BF16 Q8_0 Q6_K Q5_1 Q5_0 Q5_K Q4_1 Q4_0 Q4_K IQ4_NL IQ4_XS MXFP4 Q3_K Q2_K".split()
)
BLOCK = 256


def multiple(n):
    return -(-n // BLOCK) * BLOCK


def padded(array, *shape):
    return np.pad(array, [(0, wanted - had) for had, wanted in zip(array.shape, shape)])


class OneTypeMaker:
    """Reads and widens a model once, then writes it in any type."""

    def __init__(self, path):
        self.reader = GGUFReader(path)
        architecture = self.reader.fields["general.architecture"].contents()
        if architecture != "llama":
            sys.exit(f"{path}: a model of one type is made of llama alone, not of {architecture}")
        keys = keys_of(self.reader)
        self.hidden = keys["embedding_length"]
        self.ffn = keys["feed_forward_length"]
        self.n_heads = keys["attention.head_count"]
        self.n_kv_heads = keys["attention.head_count_kv"]
        self.head_dim = self.hidden // self.n_heads
        if keys.get("attention.key_length", self.head_dim) != self.head_dim:
            sys.exit(f"{path}: heads of another size than embedding_length / head_count")
        self.wide_hidden = multiple(self.hidden)
        self.wide_ffn = multiple(self.ffn)
        self.wide_heads = self.n_heads
        # llama.cpp takes head_dim for hidden / heads.
        while self.wide_heads * self.head_dim < self.wide_hidden:
            self.wide_heads += self.n_kv_heads
        if self.wide_heads * self.head_dim != self.wide_hidden:
            sys.exit(f"{path}: no number of heads of {self.head_dim} fills {self.wide_hidden}")
        self.norm_scale = self.hidden / self.wide_hidden
        self.weights = {
            t.name: self.widened(t.name.split(".")[-2], dequantize(t.data, t.tensor_type))
            for t in self.reader.tensors
        }

    def widened(self, name, weight):
        kv, d = self.n_kv_heads, self.head_dim
        old, new = self.n_heads // kv, self.wide_heads // kv  # heads of a kv head
        if name.endswith("norm"):
            return padded(weight * np.float32(math.sqrt(self.norm_scale)), self.wide_hidden)
        if name == "attn_q":
            heads = padded(weight.reshape(kv, old, d, -1), kv, new, d, self.wide_hidden)
            return heads.reshape(-1, self.wide_hidden)
        if name == "attn_output":
            heads = padded(weight.reshape(-1, kv, old, d), self.wide_hidden, kv, new, d)
            return heads.reshape(self.wide_hidden, -1)
        if name == "ffn_down":
            return padded(weight, self.wide_hidden, self.wide_ffn)
        if name in ("ffn_gate", "ffn_up"):
            return padded(weight, self.wide_ffn, self.wide_hidden)
        if name in ("attn_k", "attn_v", "token_embd", "output"):
            return padded(weight, weight.shape[0], self.wide_hidden)
        sys.exit(f"a model of one type: it is not known how to widen tensor {name}")

    def write(self, path, type_name):
        writer = GGUFWriter(path, "llama")
        changed = {
            "llama.embedding_length": self.wide_hidden,
            "llama.feed_forward_length": self.wide_ffn,
            "llama.attention.head_count": self.wide_heads,
        }
        epsilon = "llama.attention.layer_norm_rms_epsilon"
        changed[epsilon] = self.reader.fields[epsilon].contents() * self.norm_scale
        for name, field in self.reader.fields.items():
            if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
                continue
            value = changed.get(name, field.contents())
            sub_type = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(name, value, field.types[0], sub_type=sub_type)
        for name, weight in self.weights.items():
            if weight.ndim == 1:
                writer.add_tensor(name, weight)
            else:
                tensor_type = GGMLQuantizationType[type_name]
                writer.add_tensor(name, quantized(weight, tensor_type), raw_dtype=tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def quantized(weight, tensor_type):
    """(rows, columns) float32 as the bytes of a type, by llama.cpp's own quantiser."""
    weight = np.ascontiguousarray(weight, dtype=np.float32)
    rows, columns = weight.shape
    block, block_bytes = GGML_QUANT_SIZES[tensor_type]
    out = np.empty((rows, columns // block * block_bytes), dtype=np.uint8)
    written = llama_cpp_library().ggml_quantize_chunk(
        tensor_type.value, weight.ctypes.data, out.ctypes.data, 0, rows, columns, None
    )
    if written != out.nbytes:
        sys.exit(f"llama.cpp's quantiser wrote {written} bytes of {tensor_type.name}, not {out.nbytes}")
    return out
