#!/usr/bin/env python3
"""What parkd makes of real models, against the same files in float64, beside llama.cpp.

tools/accuracy/accuracy.sh runs this with all that it needs; README.md here says what it prints.

    venv/bin/pip install -r tools/accuracy/requirements.txt
    cmake --build --preset release --target parkd_logits
    venv/bin/python tools/accuracy/accuracy.py build/release/tools/accuracy/parkd_logits MODEL.gguf...

All are given parkd's token ids of each text of texts.txt and, for a model's own table, of all of
them behind each other, cut at --long tokens, which goes past a window.
"""

import argparse
import importlib.metadata
import os
import sys
import tempfile

import numpy as np
import torch

from one_type import TYPES, OneTypeMaker
from programs import LlamaCpp, Parkd, llama_cpp_version
from reference import Reference

HERE = os.path.dirname(os.path.abspath(__file__))
LLAMA = "llama.cpp"
SHORT_TOKENS_MAX = 512  # of one text, in any tokenizer
TYPES_TEXT_STEP = 3  # each third text is enough for the table of types, which has many rows
ROWS = 64  # compared at a time


def log_softmax(logits):
    logits = logits.astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


class Totals:
    """A program's distance from the reference over all tokens that a text goes on with."""

    def __init__(self):
        self.n = self.same = 0
        self.nll = self.reference_nll = self.kl = self.worst_kl = self.worst = 0.0

    def add(self, p, q, tokens):
        """Rows of log-probabilities, the reference's and the program's, and what followed them."""
        if not np.isfinite(q).all():
            sys.exit("a program's logits are not finite")
        at = np.arange(len(tokens)), tokens
        kl = (np.exp(p) * (p - q)).sum(-1)
        self.n += len(tokens)
        self.same += int((p.argmax(-1) == q.argmax(-1)).sum())
        self.nll -= q[at].sum()
        self.reference_nll -= p[at].sum()
        self.kl += kl.sum()
        self.worst_kl = max(self.worst_kl, kl.max())
        self.worst = max(self.worst, np.abs(p[at] - q[at]).max())

    @property
    def perplexity(self):
        return np.exp(self.nll / self.n)

    @property
    def reference_perplexity(self):
        return np.exp(self.reference_nll / self.n)

    @property
    def mean_kl(self):
        return self.kl / self.n

    @property
    def same_share(self):
        return f"{100 * self.same / self.n:.1f} %"


def read_texts():
    with open(os.path.join(HERE, "texts.txt"), encoding="utf-8") as file:
        whole = file.read()
    texts, text = [], ""
    for line in whole.splitlines():  # code goes on in indented lines
        if text and not line.startswith((" ", "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT")):
            texts.append(text)
            text = ""
        text += ("\n" if text else "") + line
    texts.append(text)
    return whole, texts


def compare(program, path, dtypes, requests, tokens_max, with_llama):
    """The reference, and {dtype or LLAMA: Totals} of all requests."""
    reference = Reference(path)
    runs = {dtype: Parkd(program, path, dtype) for dtype in dtypes}
    llama = LlamaCpp(path, tokens_max) if with_llama else None
    totals = {name: Totals() for name in [*runs, *([LLAMA] if llama else [])]}
    for number, request in enumerate(requests):
        answers = {dtype: parkd.ask(request) for dtype, parkd in runs.items()}
        tokens = next(iter(answers.values()))[0]
        if len(tokens) > tokens_max:
            sys.exit(f"text {number + 1} is {len(tokens)} tokens, above {tokens_max}")
        logits = {dtype: answer[1] for dtype, answer in answers.items()}
        if llama:
            logits[LLAMA] = llama.logits(tokens)
        expected = reference.logits(tokens)
        for first in range(0, len(tokens) - 1, ROWS):
            rows = slice(first, min(first + ROWS, len(tokens) - 1))
            following = tokens[rows.start + 1 : rows.stop + 1]
            p = log_softmax(expected[rows])
            for name, t in totals.items():
                t.add(p, log_softmax(logits[name][rows]), following)
        print(f"text {number + 1} of {len(requests)}: {len(tokens)} tokens", file=sys.stderr)
    for run in [*runs.values(), *([llama] if llama else [])]:
        run.close()
    return reference, totals


def print_model(arguments, path, whole, texts):
    requests = [{"text": text} for text in texts]
    if arguments.long > 0:
        requests.append({"text": whole, "most": arguments.long})
    tokens_max = max(SHORT_TOKENS_MAX, arguments.long)
    reference, totals = compare(
        arguments.program, path, arguments.dtype, requests, tokens_max, arguments.llama
    )
    first = next(iter(totals.values()))
    print(f"### {os.path.basename(path)}\n")
    print(
        f"{', '.join(reference.types)}; {len(requests)} texts, {first.n} tokens; perplexity in "
        f"float64 {first.reference_perplexity:.4f}.\n"
    )
    print("| | perplexity | KL mean | KL worst | log-probability worst | same best token |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, t in totals.items():
        print(
            f"| {name if name == LLAMA else 'parkd ' + name} | {t.perplexity:.4f} | {t.mean_kl:.2e} | "
            f"{t.worst_kl:.2e} | {t.worst:.2e} | {t.same_share} |"
        )
    print(flush=True)


def print_types(arguments, path, texts):
    requests = [{"text": text} for text in texts[::TYPES_TEXT_STEP]]
    maker = OneTypeMaker(path)
    print(f"### Every type: {os.path.basename(path)} with all matrices of one\n")
    names = [*(f"parkd {dtype}" for dtype in arguments.dtype), LLAMA]
    print(f"| type | perplexity in float64 | {' | '.join(f'{n}: KL mean' for n in names)} ", end="")
    print(f"| {' | '.join(f'{n}: perplexity' for n in names)} |")
    print("| --- " * (2 + 2 * len(names)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "one_type.gguf")
        for type_name in arguments.types:
            maker.write(file, type_name)
            print(f"{type_name}:", file=sys.stderr)
            _, totals = compare(
                arguments.program, file, arguments.dtype, requests, SHORT_TOKENS_MAX, True
            )
            all_totals = totals.values()
            first = next(iter(all_totals))
            cells = [type_name, f"{first.reference_perplexity:.4f}"]
            cells += [f"{t.mean_kl:.2e}" for t in all_totals]
            cells += [f"{t.perplexity:.4f}" for t in all_totals]
            print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\n{len(requests)} texts, {first.n} tokens.\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="parkd_logits")
    parser.add_argument("models", nargs="+", help="GGUF files of llama or gemma3; the first, of llama, "
                        "is also written in every type")
    parser.add_argument("--dtype", nargs="+", default=["f32", "bf16"], choices=["f32", "bf16", "f16"])
    parser.add_argument("--long", type=int, default=900, help="tokens of the long text; 0: none")
    parser.add_argument("--types", nargs="*", default=TYPES, choices=TYPES, metavar="TYPE",
                        help=f"of the table of types, which --types alone leaves out; {' '.join(TYPES)}")
    parser.add_argument("--no-llama", dest="llama", action="store_false",
                        help="without llama.cpp, and so without the table of types, which it makes")
    parser.add_argument("--threads", type=int, default=1, help="of the reference")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for path in (arguments.program, *arguments.models):
        if not os.path.isfile(path):
            parser.error(f"{path}: no such file")
    if 0 < arguments.long < 2 or arguments.long < 0:
        parser.error(f"--long {arguments.long}: 0, or 2 tokens and more")

    versions = [f"{p} {importlib.metadata.version(p)}" for p in ("transformers", "torch", "gguf")]
    if arguments.llama:
        versions.append(llama_cpp_version())
    print(f"{', '.join(versions)}\n", flush=True)
    whole, texts = read_texts()
    for path in arguments.models:
        print_model(arguments, path, whole, texts)
    if not arguments.llama:
        print("no table of types: --no-llama", file=sys.stderr)
    elif arguments.types:
        print_types(arguments, arguments.models[0], texts)


if __name__ == "__main__":
    main()
