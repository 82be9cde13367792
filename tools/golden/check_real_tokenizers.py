#!/usr/bin/env python3
"""Compares parkd's tokenizers with the references on the vocabularies of real models, which are not
in the tree. Outside of CI: it needs the models and these PyPI packages.

    cmake --build --preset dev --target tokenizer_ids
    python3 -m venv venv
    venv/bin/pip install tokenizers==0.23.3 sentencepiece==0.2.3 protobuf mistral-common==1.13.1 gguf==0.19.0
    venv/bin/python tools/golden/check_real_tokenizers.py build/dev/tests/golden/tokenizer_ids WHAT PATH ...

WHAT PATH: spm FILE.model (SentencePiece), tekken FILE.json (mistral-common), hf FOLDER (tokenizer.json by
tokenizers), gguf FILE.gguf (gpt2 kinds by tokenizers, from the file's own vocabulary, llama kinds by
SentencePiece, from a model made of it), peer FOLDER (llama.cpp's ggml-vocab-*.gguf with .inp and .out).
"""

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

from tokenizer_texts import N_TEXTS, text

PROGRAM = None


def ours(path, texts):
    data = b"".join(struct.pack("<I", len(b)) + b for b in (t.encode() for t in texts))
    done = subprocess.run([PROGRAM, path], input=data, capture_output=True)
    if done.returncode != 0:
        return None, done.stderr.decode().strip()
    numbers = struct.unpack(f"<{len(done.stdout) // 4}I", done.stdout)
    ids, at = [], 0
    while at < len(numbers):
        ids.append(list(numbers[at + 1 : at + 1 + numbers[at]]))
        at += 1 + numbers[at]
    return ids, None


def compare(name, path, texts, reference):
    got, why = ours(path, texts)
    if got is None:
        print(f"{name}: refused: {why}")
        return
    n_same = n_shown = 0
    for each, ids in zip(texts, got):
        expected = reference(each)
        n_same += ids == expected
        if ids != expected and n_shown < 3:
            n_shown += 1
            print(f"  {each!r}\n    ours      {ids}\n    reference {expected}")
    print(f"{name}: {n_same} of {len(texts)} texts the same", flush=True)


def folder_with(path, name):
    folder = tempfile.mkdtemp()
    shutil.copy(path, os.path.join(folder, name))
    return folder


def keys_only(path):
    """A GGUF file with the keys of another and no tensors: its weights may be cut off or of any type."""
    with open(path, "rb") as file:
        data = file.read(64 << 20)
    at, n_keys = 24, struct.unpack_from("<Q", data, 16)[0]
    size = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def skip(kind, at):
        if kind == 8:
            return at + 8 + struct.unpack_from("<Q", data, at)[0]
        if kind == 9:
            kind, n = struct.unpack_from("<IQ", data, at)
            at += 12
            if kind in size:
                return at + n * size[kind]
            for _ in range(n):
                at = skip(kind, at)
            return at
        return at + size[kind]

    for _ in range(n_keys):
        at = skip(8, at)
        at = skip(struct.unpack_from("<I", data, at)[0], at + 4)
    out = tempfile.mkstemp(suffix=".gguf")[1]
    with open(out, "wb") as file:
        file.write(data[:8] + struct.pack("<Q", 0) + data[16:at])
        file.write(b"\0" * (-at % 32))
    return out


def gguf_fields(path):
    from gguf import GGUFReader

    return {k: v for k, v in GGUFReader(path).fields.items() if k.startswith("tokenizer.")}


SPLITS = {
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
SPLITS["deepseek-r1-qwen"] = SPLITS["qwen2"]


def gguf_reference(path):
    fields = gguf_fields(path)
    value = lambda key: fields["tokenizer.ggml." + key].contents()  # noqa: E731
    tokens, types = value("tokens"), value("token_type")
    if value("model") == "llama":
        import sentencepiece
        from sentencepiece import sentencepiece_model_pb2 as pb

        model = pb.ModelProto()
        for token, score, kind in zip(tokens, value("scores"), types):
            piece = model.pieces.add()
            # llama.cpp's converter writes spaces in tokens that are user-defined
            piece.piece, piece.score, piece.type = token.replace(" ", "\u2581") if kind == 4 else token, score, kind
        model.trainer_spec.model_type = 2
        model.trainer_spec.byte_fallback = True
        model.trainer_spec.unk_id = types.index(2) if 2 in types else 0
        model.trainer_spec.vocab_size = len(tokens)
        prefix = fields.get("tokenizer.ggml.add_space_prefix")
        model.normalizer_spec.name = "identity"
        model.normalizer_spec.add_dummy_prefix = prefix.contents() if prefix else True
        model.normalizer_spec.remove_extra_whitespaces = False
        processor = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
        return processor.encode
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    pre = value("pre")
    merges = [tuple(m.split(" ", 1)) for m in value("merges")]
    vocab = {}
    for i, (token, kind) in enumerate(zip(tokens, types)):
        if kind == 1:
            vocab.setdefault(token, i)
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=pre == "llama-bpe"))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre in ("gpt-2", "smollm"))
    if pre == "smollm":
        steps = [pre_tokenizers.Digits(individual_digits=True), byte_level]
    elif pre == "gpt-2":
        steps = [byte_level]
    else:
        steps = [pre_tokenizers.Split(Regex(SPLITS[pre]), behavior="isolated"), byte_level]
    made.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return lambda each: made.encode(each, add_special_tokens=False).ids


def check_peer(folder):
    n_good = n_all = 0
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if not name.endswith(".gguf"):
            continue
        if not os.path.exists(path + ".inp"):
            print(f"peer {name}: no .inp")
            continue
        with open(path + ".inp", encoding="utf-8", newline="") as file:
            texts = file.read().split("\n__ggml_vocab_test__\n")
        with open(path + ".out", encoding="ascii") as file:
            expected = [[int(n) for n in line.split()] for line in file.read().split("\n")]
        if texts[-1] == "":
            texts.pop()
        expected = expected[: len(texts)]
        n_all += 1
        got, why = ours(path, texts)
        if got is None:
            print(f"peer {name}: refused: {why[:160]}")
            continue
        same = [a == b for a, b in zip(got, expected)]
        n_good += all(same)
        print(f"peer {name}: {sum(same)} of {len(texts)}")
        for each, a, b in zip(texts, got, expected):
            if a != b:
                print(f"    {each[:80]!r}\n    ours {a[:40]}\n    peer {b[:40]}")
                break
    print(f"peer: {n_good} of {n_all} pairs pass")


def main(arguments):
    global PROGRAM
    PROGRAM, n = arguments[0], N_TEXTS
    rest = arguments[1:]
    if rest[:1] == ["--n"]:
        n, rest = int(rest[1]), rest[2:]
    texts = [text(i) for i in range(n)]
    for what, path in zip(rest[::2], rest[1::2]):
        name = f"{what} {os.path.basename(path.rstrip('/'))}"
        if what == "spm":
            import sentencepiece

            compare(name, folder_with(path, "tokenizer.model"), texts,
                    sentencepiece.SentencePieceProcessor(model_file=path).encode)
        elif what == "tekken":
            from mistral_common.tokens.tokenizers.tekken import Tekkenizer

            made = Tekkenizer.from_file(path)
            compare(name, folder_with(path, "tekken.json"), texts, lambda t: made.encode(t, False, False))
        elif what == "hf":
            from tokenizers import Tokenizer

            made = Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
            compare(name, path, texts, lambda t: made.encode(t, add_special_tokens=False).ids)
        elif what == "gguf":
            path = keys_only(path)
            compare(name, path, texts, gguf_reference(path))
        elif what == "peer":
            check_peer(path)
        else:
            raise SystemExit(f"not known: {what}")


main(sys.argv[1:])
