"""The texts that tokenizers are compared on. tests/golden/tokenizer_texts.cc has the same generator:
only integers, so that both give the same bytes."""

MASK = (1 << 64) - 1
SEED = 15
N_TEXTS = 100_000

WORDS = """the of and to in is that it was for on are as with his they at be this from have or by one had
not but what all were when we there can an your which their said if do will each about how up out them
don't I'M you'll he's WE'VE they'd it'S naive TCP/IP http://example.org/a?b=c&d=1 x86_64 camelCase
snake_case CONST_NAME 3.14 1e-9 0xFF user@example.org station nation internationalization""".split()
CODE = [
    "def f(x):\n    return x + 1\n", "for (int i = 0; i < n; ++i) {\n\ta[i] = b;\n}\n", "#include <vector>\n",
    "\n\n\n", "        self.x = None\n", "if (a && b || !c) { return; }", "SELECT * FROM t WHERE id = 42;\n",
    "\t\t\t", "{\"key\": [1, 2, 3]}", "// TODO: fix\r\n", "a->b::c<T>()", "\\n\\t\\\\", "$x = @{y} %z ^w ~v `u`",
]
EMOJI = [
    "\U0001F600", "\U0001F468\u200D\U0001F469\u200D\U0001F467\u200D\U0001F466", "\U0001F44D\U0001F3FD",
    "\U0001F1E9\U0001F1EA", "\u2764\uFE0F", "1\uFE0F\u20E3", "\U0001F3F4\U000E0067\U000E0062\U000E007F",
    "\U0001F9D1\U0001F3FB\u200D\U0001F680", "\u263A", "\U0001FAE9",
]
SPACES = [" ", " ", " ", "  ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u3000", "\u2028", "\u200b", "\u180e",
          "\u0085", "\u2009", "\u202f"]
ODD = ["\u2581", "\u2581\u2581", "\u0120", "'\u017f", "\u212a", "\ufb01", "\u00df", "\u1e9e", "\u0130", "\u01c5",
       "\ufeff", "\ufffd", "\ue000", "\u200d", "\u200c", "\u00ad", "\u02bc", "\u2019s", "\uff07"]
SCRIPTS = [
    (0xC0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x5D0, 0x5EA), (0x620, 0x64A), (0x904, 0x939), (0x985, 0x9B9),
    (0xB85, 0xBB9), (0xE01, 0xE30), (0x10D0, 0x10FF), (0x531, 0x556), (0x1200, 0x1248), (0x1780, 0x17B3),
    (0x3041, 0x3096), (0x30A1, 0x30FA), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3), (0x20000, 0x200FF), (0x10400, 0x1044F),
    (0x1D400, 0x1D44F), (0xFF01, 0xFF5E), (0x1E00, 0x1EFF), (0x2100, 0x214F), (0x0F40, 0x0F69), (0x2160, 0x2188),
    (0x0660, 0x0669), (0x2000, 0x206F), (0x10D40, 0x10D8F), (0x1F00, 0x1FFF), (0x1100, 0x11FF),
]
MARKS = [0x300, 0x301, 0x308, 0x30A, 0x323, 0x327, 0x328, 0x331, 0x338, 0x345, 0x5B0, 0x5BC, 0x64B, 0x651, 0x93C,
         0x94D, 0x9BE, 0xBBE, 0x3099, 0x309A, 0x1161, 0x11A8, 0x1ABF, 0x897, 0x1E08F, 0x11930]
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


class Random:
    """SplitMix64 (Steele, Lea, Flood 2014)."""

    def __init__(self, state):
        self.state = state & MASK

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, n):
        return self.next() % n

    def pick(self, choices):
        return choices[self.below(len(choices))]


def part(r):
    kind = r.below(16)
    if kind < 4:
        return (" " if r.below(4) else "") + r.pick(WORDS)
    if kind == 4:
        n = 1 + r.below(10)
        upper = r.below(3)
        text = "".join(chr((65 if upper == 0 or (upper == 1 and i == 0) else 97) + r.below(26)) for i in range(n))
        return text
    if kind == 5:
        return "".join(chr(48 + r.below(10)) for _ in range(1 + r.below(8)))
    if kind == 6:
        return "".join(r.pick(SPACES) for _ in range(1 + r.below(4)))
    if kind == 7:
        return r.pick(SPACES) * (1 + r.below(20))
    if kind == 8:
        return "".join(r.pick(PUNCTUATION) for _ in range(1 + r.below(4)))
    if kind in (9, 10):
        first, last = r.pick(SCRIPTS)
        return "".join(chr(first + r.below(last - first + 1)) for _ in range(1 + r.below(6)))
    if kind == 11:
        return "".join(r.pick(EMOJI) for _ in range(1 + r.below(2)))
    if kind == 12:
        return chr(1 + r.below(0x1F) if r.below(2) else 0x7F + r.below(0x21))
    if kind == 13:
        base = chr(97 + r.below(26)) if r.below(2) else r.pick(EMOJI + ODD)
        return base + "".join(chr(r.pick(MARKS)) for _ in range(1 + r.below(3)))
    if kind == 14:
        return r.pick(CODE)
    code = r.below(0x110000)
    odd = r.pick(ODD)
    return odd if code == 0 or 0xD800 <= code < 0xE000 or r.below(2) else chr(code)


def text(index):
    r = Random(SEED * 1_000_003 + index)
    return "".join(part(r) for _ in range(1 + r.below(10)))


def fnv1a64(data, value=0xCBF29CE484222325):
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value
