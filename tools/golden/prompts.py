"""The conversations and strings that the goldens are made of. Only data."""

LONG_TEXT = (
    "The lighthouse at the end of the peninsula had been dark for eleven years when the letter "
    "arrived. It was addressed to the keeper, though there was no keeper any more, and so the "
    "postman, who was new, carried it up the path between the gorse bushes and pushed it under "
    "the door. Nobody would have found it, if the roof had not begun to leak that same winter. "
    "The council sent a carpenter called Ines Marlow to look at the beams. She came on a Tuesday, "
    "in the rain, with a thermos of tea and a dog that did not like stairs. She found the beams "
    "sound, the lamp room full of feathers, and the letter, dry and unopened, on the mat. "
    "She put it in her coat and forgot it for a week. When she remembered, she saw that the stamp "
    "was from a country which had changed its name before she was born, and that the handwriting "
    "leaned to the left as if it had been written on a ship. The letter said only this: 'I have "
    "kept the light on my side. Please keep yours. We can still see each other on clear nights.' "
    "There was no signature. There was a small map, drawn in pencil, of the bay and of the coast "
    "on the other side, forty kilometres away, with a cross on a headland that Ines knew. On "
    "clear nights you could see the lamps of fishing boats there, and sometimes a single light "
    "that did not move. Everybody in the village had an explanation for it. The baker said it was "
    "a hotel. The teacher said it was a star that set very late. Ines went up to the lamp room "
    "with a broom, a bucket, and a box of tools. It took her nine days to clean the lens and two "
    "to understand the clockwork. On the twelfth day she wound the weights, lit the lamp, and sat "
    "down on the iron stairs with the dog. For an hour nothing happened. Then, on the other side "
    "of the water, the light that never moved went out, and came back, and went out, and came "
    "back, three times, like somebody laughing. Ines did not tell the council. She wrote in her "
    "report that the beams were sound, that the roof needed forty slates, and that the lamp "
    "should be kept in working order for reasons of safety. The council agreed, because it was "
    "cheap. Every evening since then, when the weather allows it, somebody climbs the stairs. "
    "On the wall beside the lamp there is a list of names, and next to each name a date, and on "
    "some of the dates there is a small drawing of a wave."
)

CODE = '''def merge_sorted(a, b):
    """Merge two sorted lists."""
    out, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        if a[i] <= b[j]:
            out.append(a[i]); i += 1
        else:
            out.append(b[j]); j += 1
    return out + a[i:]
'''


def user(text):
    return [{"role": "user", "content": text}]


def system(text, *turns):
    roles = ["user", "assistant"]
    return [{"role": "system", "content": text}] + [
        {"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)
    ]


def chat(*turns):
    roles = ["user", "assistant"]
    return [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]


PROMPTS = [
    ("capital", user("What is the capital of France?")),
    ("hello", user("Hi")),
    ("haiku", user("Write a haiku about the sea in winter.")),
    ("sky", user("Why is the sky blue? Answer in two sentences.")),
    ("list", user("List five fruits, one per line, and nothing else.")),
    ("arithmetic", user("What is 12345 + 67890? Show each step.")),
    ("digits", user("Continue the sequence: 2, 4, 8, 16, 32, 64, 128,")),
    ("code_review", user("What is wrong with this function?\n\n```python\n" + CODE + "```")),
    ("code_write", user("Write a C++ function that reverses a std::string in place.")),
    ("sql", user("SELECT name, count(*) FROM jobs WHERE state = 'queued' GROUP BY name;\n"
                 "Explain this query.")),
    ("json", user('Turn this into JSON: name is Ada, born 1815-12-10, fields are {"maths", "poetry"}.')),
    ("german", user("Erkläre kurz, warum Brot beim Backen größer wird. Übertreibe nicht.")),
    ("chinese", user("请用一句话介绍北京。")),
    ("french", user("Traduis en anglais : « Le chat dort sur le canapé près de la fenêtre. »")),
    ("emoji", user("What do these emojis mean together? 🚀🔥👩‍💻🎉")),
    ("whitespace", user("  \n\n\tPlease   fix the    spacing   of\tthis  sentence .  \n\n")),
    ("empty_content", user("")),
    ("one_letter", user("a")),
    ("system_pirate", system("You are a pirate. Always answer like one.", "Where is the treasure?")),
    ("system_empty", system("", "Name three colours.")),
    ("system_terse", system("Answer with one word.", "What is the opposite of hot?")),
    ("multi_turn", chat("My name is Jonas and I live in Oslo.",
                        "Nice to meet you, Jonas! How can I help you today?",
                        "What is my name, and which country do I live in?")),
    ("multi_turn_system", system("You help with cooking.", "I have eggs, flour and milk.",
                                 "You could make pancakes, crepes or a simple omelette.",
                                 "Give me the recipe for the first one.")),
    ("long_summary", user("Summarise this story in one sentence.\n\n" + LONG_TEXT)),
    ("long_question", user(LONG_TEXT + "\n\nWho wrote the report to the council?")),
    ("email", user("Write a short, polite email to a landlord about a broken heater.")),
    ("quote", user("Complete the quote: \"To be, or not to be,")),
    ("html", user("<p>Hello&nbsp;<b>world</b></p>\nWhat does this show in a browser?")),
    ("unicode_mix", user("naïve café ½ ² Ⅷ ﬁ Straße Ελλάδα Москва हिन्दी العربية 日本語 한국어")),
    ("long_word", user("Count the letters: " + "ab" * 60)),
]

# Texts whose ids the tokenizer must give; special tokens in them are text.
STRINGS = [
    "", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", " \t ", "a", " a", "a ", " a ",
    "  a  ", "hello", "Hello", "HELLO", "hello world", "hello  world", "hello   world", "Hello, world!",
    "don't", "I'm", "we'll", "they've", "it's", "you're", "he'd", "DON'T", "I'M", "'s", "''s", "' s",
    "'re'll've", "rock'n'roll", "1", "12", "123", "1234", "12345", " 1", " 12", "a1", "1a", "a1b2c3",
    "1 2 3", "1  2", "1.5", "-1", "+1e-5", "0x1F", "1,000,000", "2024-11-23", "12:34:56", "3.14159",
    "v1.2.3", "(1)", "[12]", "x=1;y=2", "½", "²", "x²+y³", "Ⅷ", "٣٤", "१२३", "一二三", "①②③",
    "a\nb", "a\n\nb", "a \n b", "a\r\nb", "\ta", "a\tb", "    indented", "\t\tindented",
    "line one\n    line two\n\n\nline three", "trailing   ", "trailing\n", "trailing \n ",
    "word\u00a0word", "word\u2003word", "\u3000full width space", "a\u200bb", "a\u200db", "\ufeffbom",
    "a\u180eb", "a \u180e b", "\u2028line", "a\u0085b", "\u202fnarrow", "\x0b\x0c", "a\x00b", "\x01\x02",
    "\x04\x06", "a\x04b", "\x7f", "\x1b[0m", "!", "!!", "!!!", "!?!?", "...", "…", "--", "—", "–", "_",
    "__init__", "snake_case_name", "camelCaseName", "kebab-case", "UPPER_CASE", "a.b.c", "a/b/c",
    "C:\\Users\\x", "/usr/local/bin", "https://example.com/a?b=c&d=e#f", "me@example.org", "#hashtag",
    "@user", "$100", "€50", "£", "¥", "100%", "a&b", "a&&b||c", "<p>", "</p>", "<a href=\"x\">y</a>",
    "{}", "{\"a\": [1, 2, {\"b\": null}]}", "[[x]]", "((x))", "`code`", "```python\nprint(1)\n```",
    "def f(x):\n    return x + 1\n", "for (int i = 0; i < n; ++i) { a[i] = b[i]; }",
    "#include <vector>\n\nint main() { return 0; }\n", "SELECT * FROM t WHERE a='b';", "a->b", "a::b",
    "x != y", "x == y", "x <= y >= z", "!=", "==", "=>", "->", "<-", "++i", "i++", "/* c */", "// c",
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "a<|im_end|>b", "<|im_start|>system\nx<|im_end|>",
    "<|im_end", "|>", "<repo_name>", "<file_sep>", "<jupyter_start>", "<|im_end|><|im_end|>", " <|im_end|> ",
    "äöüß", "Äpfel", "Größe", "Straße", "café", "cafe\u0301", "naïve", "résumé", "Ångström", "A\u030angström",
    "ñandú", "¿Qué?", "¡Hola!", "Łódź", "İstanbul", "ſ", "ﬁ", "ﬀ", "Ω", "Ω", "µ", "μ", "Ελληνικά",
    "Русский язык", "Привет, мир!", "Українська", "עברית", "العربية", "فارسی", "हिन्दी", "বাংলা", "தமிழ்",
    "ไทย", "ภาษาไทย", "မြန်မာ", "ខ្មែរ", "한국어", "안녕하세요", "日本語", "こんにちは世界", "カタカナ", "中文",
    "你好，世界！", "请用一句话介绍北京。", "繁體中文", "𠮷", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𝟙𝟚𝟛", "😀", "😀😀", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪",
    "🏳️‍🌈", "a😀b", "😀 1 😀", "❤️", "☃", "→", "←→", "∑∏∫", "√2≈1.414", "a\u0300\u0301\u0302", "e\u0301e\u0301",
    "\u0301", " \u0301", "Z̷a̴l̵g̸o̶", "\u202eright to left", "\ue000private", "\U0010ffff", "\U000f0000", "\ufffd", "\uffff",
    "\u00ad", "soft\u00adhyphen", "zero\u2060width", "ＦＵＬＬ　ＷＩＤＴＨ１２３", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ab" * 100, "a" * 500, " " * 100, "\n" * 50, "\t" * 33, "1" * 40, "." * 77, "=" * 80, "-" * 79, "é" * 60,
    "中" * 60, "😀" * 30, "a b " * 40, "antidisestablishmentarianism", "pneumonoultramicroscopicsilicovolcanoconiosis",
    "The quick brown fox jumps over the lazy dog.", "Lorem ipsum dolor sit amet, consectetur adipiscing elit.",
    "It was the best of times, it was the worst of times", "  leading and trailing  ", "Mr. Smith's dog's bone",
    "user\nWhat is the capital of France?", "system\nYou are", "\n<|", "assistant\n", "İ'S", "can'T", "'ſ", "x's1's",
    " 's", "a's b's", "O'Neil", "'tis", "'Tis", "l'été", "d’accord", "“quoted”", "‘single’", "„deutsch“", "«guillemets»",
]
