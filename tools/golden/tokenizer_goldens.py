#!/usr/bin/env python3
"""Writes tests/golden/tokenizers: small vocabularies of our own, in each format, and what their
references make of the texts of tokenizer_texts.py: all hashed, 500 in full.

    python3 -m venv venv
    venv/bin/pip install tokenizers==0.23.3 sentencepiece==0.2.3 mistral-common==1.13.1
    venv/bin/python tools/golden/tokenizer_goldens.py tests/golden/tokenizers
"""

import base64
import json
import os
import struct
import sys

import sentencepiece
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

import tokenizer_texts as gen

BLOCK = 1000
N_TRAIN = 4000
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
          r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK3 = [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
             "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
             "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]


def byte_level(steps, regex=False):
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
    return pre_tokenizers.Sequence(steps + [last]) if steps else last


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), behavior="isolated")


def train(made, size, specials, alphabet, limit=256):
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=specials, initial_alphabet=alphabet,
                                  limit_alphabet=limit, show_progress=False)
    made.train_from_iterator((gen.text(i) for i in range(N_TRAIN)), trainer)
    return made


def qwen2():
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = byte_level([split(QWEN2)])
    made.decoder = decoders.ByteLevel()
    train(made, 900, [], pre_tokenizers.ByteLevel.alphabet())
    made.add_special_tokens([AddedToken("<|im_start|>", normalized=False), AddedToken("<|im_end|>", normalized=False)])
    # A token of the text itself, in normalised form, one that takes the space behind it, one that is a
    # word, and a marker, which parkd finds in templates only.
    made.add_tokens([AddedToken("\u00e9\u0301x", normalized=True), AddedToken("station", single_word=True, normalized=False),
                     AddedToken("@{y}", lstrip=True, rstrip=True, normalized=False),
                     AddedToken("<tool_call>", normalized=False)])
    return made


def llama3():
    made = Tokenizer(models.BPE(ignore_merges=True))
    made.pre_tokenizer = byte_level([split(LLAMA3)])
    made.decoder = decoders.ByteLevel()
    train(made, 900, ["<|begin_of_text|>", "<|eot_id|>"], pre_tokenizers.ByteLevel.alphabet())
    made.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)])
    return made


def deepseek3():
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.Sequence([])
    made.pre_tokenizer = byte_level([split(p) for p in DEEPSEEK3])
    made.decoder = decoders.ByteLevel()
    return train(made, 900, ["<\uff5cend\u2581of\u2581sentence\uff5c>"], pre_tokenizers.ByteLevel.alphabet())


def smollm():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = byte_level([pre_tokenizers.Digits(individual_digits=True)], regex=True)
    made.decoder = decoders.ByteLevel()
    return train(made, 700, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], pre_tokenizers.ByteLevel.alphabet())


def llama2(prefix):
    """SentencePiece's algorithm in tokenizer.json: characters, byte fallback, spaces as U+2581."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    steps = [normalizers.Replace(" ", "\u2581")]
    if prefix == "prepend":
        steps = [normalizers.Prepend("\u2581")] + steps
        made.normalizer = normalizers.Sequence(steps)
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prefix, split=False)
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    train(made, 1000, ["<unk>", "<s>", "</s>"] + names, [], 160)
    data = json.loads(made.to_str())
    data["model"]["byte_fallback"] = True
    data["added_tokens"] = [t for t in data["added_tokens"] if t["id"] < 3]
    made = Tokenizer.from_str(json.dumps(data))
    made.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                      decoders.Strip(content=" ", left=1, right=0)])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return made


def spm(folder, name, **options):
    corpus = os.path.join(folder, "corpus.txt")
    with open(corpus, "w", encoding="utf-8") as file:
        for i in range(N_TRAIN):
            kept = (c for c in gen.text(i) if " " <= c < "\u0250" or c in "\u4e2d\u3042\U0001F600")
            file.write("".join(kept) + "\n")
    sentencepiece.SentencePieceTrainer.train(
        input=corpus, model_prefix=os.path.join(folder, name), model_type="bpe", vocab_size=1100, byte_fallback=True,
        character_coverage=0.995, normalization_rule_name="identity", remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True, num_threads=1, minloglevel=2, **options)
    os.remove(corpus)
    os.remove(os.path.join(folder, name + ".vocab"))
    os.replace(os.path.join(folder, name + ".model"), os.path.join(folder, "tokenizer.model"))
    return sentencepiece.SentencePieceProcessor(model_file=os.path.join(folder, "tokenizer.model"))


def tekken(folder):
    """The words of a byte-level vocabulary by rank: bytes first, then as they were merged."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = byte_level([split(TEKKEN)])
    train(made, 800, [], pre_tokenizers.ByteLevel.alphabet())
    data = json.loads(made.to_str())
    of_letter = {}
    extra = 0
    for byte in range(256):
        shown = 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or byte >= 0xAE
        of_letter[chr(byte if shown else 0x100 + extra)] = byte
        extra += not shown
    words = [bytes([byte]) for byte in range(256)]
    for left, right in data["model"]["merges"]:
        word = bytes(of_letter[c] for c in left + right)
        if word not in words:
            words.append(word)
    size = len(words) - 20  # the last ranks are not used, as in the real files
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    data = {
        "config": {"pattern": TEKKEN, "num_vocab_tokens": len(words), "default_vocab_size": size + 16,
                   "default_num_special_tokens": 16, "version": "v11"},
        "vocab": [{"rank": i, "token_bytes": base64.b64encode(w).decode(), "token_str": w.decode(errors="replace")}
                  for i, w in enumerate(words)],
        "special_tokens": [{"rank": i, "token_str": n, "is_control": True} for i, n in enumerate(names)],
    }
    path = os.path.join(folder, "tekken.json")
    with open(path, "w", encoding="ascii") as file:
        json.dump(data, file, separators=(",", ":"))
    return Tekkenizer.from_file(path)


def picked():
    """500 texts: what has gone wrong somewhere, alone and in each other's company."""
    units = ["a", " ", "  ", "\n", "\r\n", "\t", "1", "12345", "'s", "'S", "\u00e9", "e\u0301", "\u4e2d\u6587", "\u3042",
             "\U0001F600", "\U0001F468\u200D\U0001F469", "\u2581", "\u00a0", "!", "Hello"]
    texts = ["", " a", "a ", "Hello, world!", "   leading", "trailing   ", "\n\n\nx", "x\n\n\n", "don't DON'T Don\u2019t",
             "1234567890", "3.14159e-10", "a1b2c3", "CamelCaseWord", "HTTPServer", "snake_case_name", "\u01c5ungla",
             "\u1e9b\u0323", "\u212b\u212a\u2126", "\u0958", "\u1100\u1161\u11a8", "\uac01", "a\u0345\u0301", "\u0301abc",
             "q\u0307\u0323", "\U0001D15E", "\u200b\u200c\u200d", "\x00"[:0], "\x01\x02\x1f\x7f", "\u0085\u2028\u2029",
             "\u180e x", "x\u3000y", "$@{y} z", "$ @{y} ", "stations station station1 (station)", "\u00e9\u0301x",
             "e\u0301\u0301x", "</div><b>bold</b>", "if (x) {\n    y();\n}\n", "\u0e01\u0e33\u0e25\u0e31\u0e07", "\u0939\u093f\u0928\u094d\u0926\u0940",
             "\u05e9\u05c1\u05dc\u05d5\u05dd", "\u0645\u0631\u062d\u0628\u0627", "\u0393\u03b5\u03b9\u03ac", "\u041f\u0440\u0438\u0432\u0435\u0442",
             "\U00010d50\U00010d70", "\U0002ebf0", "\u1c89\u1c8a", "\U00011f50", "x" * 300, " " * 300, "ab" * 150, "\n" * 65]
    for a in units:
        for b in units:
            texts.append(a + b + "z")
    i = 0
    while len(texts) < 500:
        texts.append(gen.text(gen.N_TEXTS + i))
        i += 1
    return texts[:500]


def main(out):
    os.makedirs(out, exist_ok=True)
    folder = lambda name: os.path.join(out, name)  # noqa: E731
    encoders = {}
    for name, made in {"qwen2": qwen2(), "llama3": llama3(), "deepseek3": deepseek3(), "smollm": smollm(),
                       "llama2": llama2("prepend"), "mistral": llama2("first")}.items():
        os.makedirs(folder(name), exist_ok=True)
        path = os.path.join(folder(name), "tokenizer.json")
        with open(path, "w", encoding="ascii") as file:
            json.dump(json.loads(made.to_str()), file, separators=(",", ":"))
        read = Tokenizer.from_file(path)
        encoders[name] = (lambda t, read=read: read.encode(t, add_special_tokens=False).ids,
                          lambda ids, read=read: read.decode(ids, skip_special_tokens=True))
    for name, options in {"spm": {"user_defined_symbols": ["<b>", "\u2581\u2581", "\u2581\u2581\u2581\u2581", "0xFF"]},
                          "gemma": {"add_dummy_prefix": False, "control_symbols": ["<turn>"], "split_digits": True}}.items():
        os.makedirs(folder(name), exist_ok=True)
        made = spm(folder(name), name, **options)
        encoders[name] = (made.encode, made.decode)
    os.makedirs(folder("tekken"), exist_ok=True)
    made = tekken(folder("tekken"))
    encoders["tekken"] = (lambda t, made=made: made.encode(t, False, False), made.decode)

    texts = picked()
    golden = {"seed": gen.SEED, "n_texts": gen.N_TEXTS, "block": BLOCK, "words": gen.WORDS, "code": gen.CODE,
              "emoji": gen.EMOJI, "spaces": gen.SPACES, "odd": gen.ODD, "scripts": gen.SCRIPTS, "marks": gen.MARKS,
              "punctuation": gen.PUNCTUATION, "picked": texts, "kinds": []}
    for name, (encode, decode) in encoders.items():
        hashes = []
        for begin in range(0, gen.N_TEXTS, BLOCK):
            value = gen.fnv1a64(b"")
            for i in range(begin, begin + BLOCK):
                ids = encode(gen.text(i))
                value = gen.fnv1a64(struct.pack(f"<{len(ids) + 1}I", *ids, 0xFFFFFFFF), value)
            hashes.append(f"{value:016x}")
        golden["kinds"].append({"name": name, "hashes": hashes, "ids": [encode(t) for t in texts],
                                "decoded": gen.fnv1a64("\0".join(decode(encode(t)) for t in texts).encode())})
        print(name, flush=True)
    with open(os.path.join(out, "goldens.json"), "w", encoding="ascii") as file:
        json.dump(golden, file, separators=(",", ":"))


main(sys.argv[1])
