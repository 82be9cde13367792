"""What is compared with the reference: parkd's CPU backend, and llama.cpp."""

import ctypes
import importlib.metadata
import json
import subprocess
import sys

import numpy as np


class Parkd:
    """parkd_logits of one dtype: f32 is the float path, bf16 and f16 are what serves."""

    def __init__(self, program, path, dtype):
        self.command = [program, path, "--dtype", dtype]
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, request):
        """request: {"text": str, "most": tokens}. The token ids, and (n_tokens, vocab) float32."""
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{' '.join(self.command)}: ended with {self.process.wait()}, without logits")
        head = json.loads(line)
        n, vocab = len(head["tokens"]), head["vocab"]
        data = self.process.stdout.read(n * vocab * 4)
        return head["tokens"], np.frombuffer(data, dtype="<f4").reshape(n, vocab)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class LlamaBatch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    ]


class Options(ctypes.Structure):
    """llama_model_params or llama_context_params: large, passed on, and but for the start unseen."""

    _fields_ = [
        ("n_ctx", ctypes.c_uint32),  # the context's
        ("n_batch", ctypes.c_uint32),
        ("rest", ctypes.c_char * 1016),
    ]


def llama_cpp_library():
    """llama.cpp's C API. The wheel xllamacpp holds it, built; its Python API gives no logits."""
    import xllamacpp.xllamacpp

    library = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    int32, int64 = ctypes.c_int32, ctypes.c_int64
    for name, result, arguments in (
        ("ggml_quantize_chunk", ctypes.c_size_t, [ctypes.c_int, pointer, pointer] + 3 * [int64] + [pointer]),
        ("llama_log_set", None, [pointer, pointer]),
        ("llama_backend_init", None, []),
        ("llama_model_default_params", Options, []),
        ("llama_model_load_from_file", pointer, [text, Options]),
        ("llama_model_get_vocab", pointer, [pointer]),
        ("llama_vocab_n_tokens", int32, [pointer]),
        ("llama_context_default_params", Options, []),
        ("llama_init_from_model", pointer, [pointer, Options]),
        ("llama_set_n_threads", None, [pointer, int32, int32]),
        ("llama_get_memory", pointer, [pointer]),
        ("llama_memory_clear", None, [pointer, ctypes.c_bool]),
        ("llama_batch_init", LlamaBatch, 3 * [int32]),
        ("llama_batch_free", None, [LlamaBatch]),
        ("llama_decode", int32, [pointer, LlamaBatch]),
        ("llama_get_logits", ctypes.POINTER(ctypes.c_float), [pointer]),
        ("llama_free", None, [pointer]),
        ("llama_model_free", None, [pointer]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class LlamaCpp:
    """llama.cpp's CPU backend, with its defaults: KV is f16."""

    def __init__(self, path, tokens_max):
        self.lib = llama_cpp_library()
        self.silent = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(
            lambda level, text, data: None
        )
        self.lib.llama_log_set(ctypes.cast(self.silent, ctypes.c_void_p), None)
        self.lib.llama_backend_init()
        self.model = self.lib.llama_model_load_from_file(
            path.encode(), self.lib.llama_model_default_params()
        )
        if not self.model:
            sys.exit(f"{path}: llama.cpp does not load it")
        self.vocab = self.lib.llama_vocab_n_tokens(self.lib.llama_model_get_vocab(self.model))
        options = self.lib.llama_context_default_params()
        options.n_ctx = options.n_batch = tokens_max
        self.context = self.lib.llama_init_from_model(self.model, options)
        if not self.context:
            sys.exit(f"{path}: llama.cpp makes no context of {tokens_max} tokens")
        self.lib.llama_set_n_threads(self.context, 2, 2)

    def logits(self, tokens):
        """(n_tokens, vocab) float32: the logits after each token."""
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
        batch = self.lib.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i] = token
            batch.pos[i] = i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = 1
        code = self.lib.llama_decode(self.context, batch)
        self.lib.llama_batch_free(batch)
        if code != 0:
            sys.exit(f"llama.cpp: llama_decode of {len(tokens)} tokens gave {code}")
        logits = self.lib.llama_get_logits(self.context)
        return np.ctypeslib.as_array(logits, (len(tokens), self.vocab)).copy()

    def close(self):
        self.lib.llama_free(self.context)
        self.lib.llama_model_free(self.model)


def llama_cpp_version():
    """Of the package that holds it; ends where that is not there."""
    try:
        llama_cpp_library()
    except ImportError as error:
        sys.exit(
            f"{error}: llama.cpp's figures and the table of types need it; pip install -r "
            "tools/accuracy/requirements.txt, or pass --no-llama"
        )
    return f"llama.cpp of xllamacpp {importlib.metadata.version('xllamacpp')}"
