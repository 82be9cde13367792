#!/usr/bin/env python3
"""Renders chat templates as transformers does, for parkd's interpreter to be held to.

    python3 -m venv venv
    venv/bin/pip install transformers==5.24.0 jinja2==3.1.6 numpy
    venv/bin/python tools/golden/templates.py own tests/jinja/templates tests/jinja/goldens.json
    venv/bin/python tools/golden/templates.py real OUT.json FILE.jinja|FILE.gguf ...
    PARKD_TEMPLATE_GOLDENS=OUT.json build/dev/tests/jinja/jinja_test --gtest_filter='*real*'
    venv/bin/python tools/golden/templates.py bodies tests/openai/goldens.json 120 tests/jinja/templates/*.jinja
    venv/bin/python tools/golden/templates.py bodies OUT.json 480 FILE.jinja|FILE.gguf ...
    PARKD_BODY_GOLDENS=OUT.json build/dev/tests/openai/openai_test --gtest_filter='*real*'

`own` renders the snippets below and every case with every template of the folder; texts of cases are
kept as FNV-1a hashes. `real` does the cases with other people's templates, which are not ours to
commit. `bodies` makes requests of OpenAI's API of the cases, and renders what vLLM makes of them for a
template: arguments of calls as dicts, or as they came where it cannot show those; parts as they
came, or joined. Seeded; the clock is 2026-01-02 03:04:05 UTC.
Shares nothing with parkd.
"""

import datetime
import json
import pathlib
import random
import struct
import sys

import jinja2
from transformers.utils import chat_template_utils

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5)


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = FixedClock


def fnv1a64(text):
    hashed = 0xCBF29CE484222325
    for byte in text.encode():
        hashed = (hashed ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{hashed:016x}"


def render(source, variables):
    """The text, or None where Jinja refuses."""
    try:
        return chat_template_utils._compile_jinja_template(source).render(**variables)
    except (jinja2.TemplateError, TypeError, ValueError, AttributeError, KeyError, IndexError,
            ZeroDivisionError, OverflowError):
        return None


# --- snippets: one construct each, with what it is rendered from

VARIABLES = {
    "text": "  Hallo, Wörld! \t\n", "name": "Ada <b>&'\"", "n": 7, "x": -2.5, "big": 123456789012345678901234567890,
    "yes": True, "nothing": None, "items": [3, 1, 2], "words": ["b", "A", "c", "a"], "empty": [], "none_list": [None, True, 1.0],
    "tool": {"type": "function", "function": {"name": "f", "items": 1, "parameters": {"type": "object", "properties": {
        "a": {"type": "string", "enum": ["x", "y\n"]}, "b": {"type": ["integer", "null"], "minimum": 1e-7}}}}},
    "people": [{"name": "Bob", "age": 3, "tags": ["q"]}, {"name": "ann", "age": 20}, {"name": "Cid", "age": 3}],
    "uni": "Straße ΑΣ é😀\u200b\u00a0", "lines": "a\n\nb\r\nc\x0bd", "deep": {"k": {"l": [1, {"m": None}]}},
}

SNIPPETS = r"""
{{ text|trim }}|{{ text.strip() }}|{{ text.lstrip() }}|{{ text.rstrip() }}|{{ 'xxayx'.strip('x') }}|{{ 'xyay'.lstrip('yx') }}
{{ 1 + 2 * 3 - 4 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 3 ** 2 }}
{{ 1.0 }} {{ 1e16 }} {{ 1e15 }} {{ 1.5e-5 }} {{ 0.0001 }} {{ 1e22 }} {{ 1.1 + 2.2 }} {{ 100000000000000000.0 }} {{ x }} {{ 1/3 }} {{ 5e-324 }} {{ 1_000 }}
{{ big }} {{ [big]|tojson }} {{ n }} {{ -n }} {{ +n }} {{ n - -3 }}
{{ true }} {{ False }} {{ none }} {{ None }} {{ [true, none, 1, 'a', 1.5] }} {{ (1,) }} {{ (1, 2) }} {{ () }} {{ {'a': 1, 2: [3]} }}
{{ 'a' ~ 1 ~ none ~ 2.0 ~ [1] ~ undefined_thing }}
{{ 'a' if yes else 'b' }} {{ 'a' if not yes else 'b' }} {{ 'a' if false }}| {{ 1 if 0 else 2 if 0 else 3 }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 'a' in 'cat' }} {{ 2 in items }} {{ 9 not in items }} {{ 'type' in tool }} {{ not 1 in [2] }}
{{ items[0] }} {{ items[-1] }} {{ items[1:] }} {{ items[::-1] }} {{ items[:-1] }} {{ items[5:] }} {{ text[2:5] }} {{ uni[-4:] }} {{ uni[::2] }} {{ items[::2] }} {{ items[-2:10:1] }} {{ (1,2,3)[1:] }}
{{ items[7] is defined }} {{ items['a'] is defined }} {{ tool.nope is defined }} {{ tool['function']['items'] }} {{ tool.function.items is string }} {{ tool.function.name }}
{{ undefined_thing }}|{{ undefined_thing is defined }}|{{ undefined_thing|default('d') }}|{{ nothing|default('d') }}|{{ nothing|default('d', true) }}|{{ ''|d('e', boolean=true) }}
{{ undefined_thing.attribute }}
{{ undefined_thing + 1 }}
{{ tool.nope.deeper }}
{{ nothing + 'a' }}
{{ 'a' + 1 }}
{{ undefined_thing is iterable }} {{ undefined_thing|length }} {% for i in undefined_thing %}x{% else %}none{% endfor %} {{ undefined_thing == undefined_other }} {{ undefined_thing == none }} {{ [undefined_thing] }}
{% if items and not empty %}a{% elif n %}b{% else %}c{% endif %} {% if empty %}a{% elif n == 8 %}b{% else %}c{% endif %} {{ items and 'last' }} {{ empty or 'other' }} {{ 0 or none }}
{% for i in items %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}:{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }} {% endfor %}
{% for p in people if p.age == 3 %}{{ loop.index }}/{{ loop.length }}{{ p.name }},{% else %}nobody{% endfor %}{% for p in people if p.age > 99 %}x{% else %}nobody{% endfor %}
{% for k, v in tool.function.items() %}{{ k }}={{ v is mapping }},{% endfor %}
{% for k, v in tool['function'].items() %}{{ k }}:{{ v }},{% endfor %}{% for k in tool.function %}{{ k }} {% endfor %}{% for k, v in deep|items %}{{ k }}{% endfor %}
{% for a, (b, c) in [(1, (2, 3)), (4, (5, 6))] %}{{ a }}{{ b }}{{ c }} {% endfor %}{% for c in 'äb😀' %}[{{ c }}]{% endfor %}
{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}
{% set v = 1 %}{% for i in items %}{% set v = v + i %}{{ v }} {% endfor %}{{ v }}{% if true %}{% set v = 9 %}{% endif %}{{ v }}
{% set ns = namespace(a=1, found=false) %}{% for i in items %}{% set ns.a = ns.a + i %}{% set ns.new = i %}{% endfor %}{{ ns.a }} {{ ns.new }} {{ ns.found }} {{ ns.nope is defined }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set t = 1, %}{{ t }}{% set c %}x{{ a }}y{% endset %}[{{ c }}]{% set d | trim | upper %}  q  {% endset %}[{{ d }}]
{% macro m(a, b='B', c=a) %}({{ a }}{{ b }}{{ c }}){% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(b=3, a='z') }}{{ m() }}{{ m.name }}
{% macro fact(k) %}{% if k < 2 %}1{% else %}{{ k }}*{{ fact(k - 1) }}{% endif %}{% endmacro %}{{ fact(5) }}
{% macro outer() %}<{{ caller() }}|{{ caller() }}>{% endmacro %}{% call outer() %}in{{ n }}{% endcall %}{% macro each(l) %}{% for i in l %}{{ caller(i) }}{% endfor %}{% endmacro %}{% call(i) each(items) %}[{{ i }}]{% endcall %}
{% macro late() %}{{ v2 }}{% endmacro %}{% set v2 = 'set' %}{{ late() }}{% set v2 = 'again' %}{{ late() }}
{% filter upper %}a{{ n }}b{% endfilter %}{% filter replace('a', 'b')|trim %} aa {% endfilter %}
{% generation %}answer{% endgeneration %}|{% set g = 1 %}{% generation %}{% set g = 2 %}{{ g }}{% endgeneration %}{{ g }}
{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %} {{ range(3)|list }} {{ range(5, 1, -2)|list }} {{ range(0)|list }} {{ range(2, 4)[0] }}
{% raw %}{{ not }} {% this %}{% endraw %}|{%- raw -%}  x  {%- endraw -%} |
a {#- comment -#} b {# another #}
   {# indented #}   c
x{{ '{{' }}{{ "}}" }}{{ "a\"b\\n\x41\u00e9\U0001F600\101\q" }}{{ 'con' 'cat' }}
{{ tool|tojson }}
{{ tool|tojson(indent=2) }}
{{ [[], {}, [1, [2]], {'a': {}}]|tojson(indent=4) }} {{ [1]|tojson(indent=0) }} {{ {'b': 1, 'a': [1.0, 1e100, true, none]}|tojson(sort_keys=true) }} {{ {'a': 1, 'b': 2}|tojson(separators=(',', ':')) }}
{{ uni|tojson }} {{ uni|tojson(ensure_ascii=True) }} {{ lines|tojson }} {{ name|tojson }} {{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }} {{ "\x7f\x1f"|tojson }} {{ "\x7f"|tojson(ensure_ascii=true) }}
{{ undefined_thing|tojson }}
{{ uni|upper }} {{ uni|lower }} {{ uni|title }} {{ 'hELLO wORLD-foo (bar'|title }} {{ 'hELLO'|capitalize }} {{ 'ŉ ﬁ ΐ'|upper }} {{ 'hello world it\'s'.title() }} {{ 'ΑΣ ΣΑ'.lower() }}
{{ [uni, name, "it's", '"', 'a\\b', lines] }} {{ [text] }}
{{ items|join(', ') }} {{ people|join(';', attribute='name') }} {{ words|sort|join }} {{ words|sort(case_sensitive=true)|join }} {{ words|sort(reverse=true)|join }} {{ people|sort(attribute='age,name')|map(attribute='name')|join(',') }} {{ [1, none, 'a']|join('-') }}
{{ tool|dictsort }} {{ {'b': 1, 'A': 2, 'c': 0}|dictsort }} {{ {'b': 1, 'A': 2}|dictsort(true) }} {{ {'b': 1, 'A': 2}|dictsort(by='value', reverse=true) }}
{{ people|selectattr('age', 'equalto', 3)|map(attribute='name')|list }} {{ people|rejectattr('tags', 'defined')|list|length }} {{ people|selectattr('tags')|list|length }} {{ items|select('odd')|list }} {{ items|reject('==', 2)|list }} {{ words|map('upper')|join }} {{ words|map('replace', 'a', 'z')|list }} {{ people|map(attribute='tags', default='-')|list }} {{ items|select('in', [1, 2])|list }}
{% if items|select('==', 99) %}generators are true{% endif %}{% set g = items|map('string') %}{{ g|list }}{{ g|list }}
{{ words|first }} {{ words|last }} {{ empty|first is defined }} {{ words|unique|list }} {{ [3, 1]|min }} {{ [3, 1]|max }} {{ items|sum }} {{ people|sum(attribute='age') }} {{ items|reverse|list }} {{ 'äb'|reverse }} {{ items|batch(2)|list }} {{ items|batch(2, 0)|list }}
{{ '42'|int }} {{ '4.7'|int }} {{ 'x'|int }} {{ 'x'|int(5) }} {{ 3.9|int }} {{ 'ff'|int(base=16) }} {{ '1.5'|float }} {{ 'q'|float }} {{ -3|abs }} {{ 2.5|round }} {{ 3.14159|round(2) }} {{ 42.55|round(1, 'floor') }} {{ 7|round }} {{ 2.675|round(2) }}
{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a b c'.split(none, 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ 'abc'.split('x')[-1] }} {{ 'a</t>b</t>c'.split('</t>')[-1] }} {{ ''.split() }} {{ ''.split(',') }}
{{ lines.splitlines() }} {{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('x') }} {{ 'aXbX'.replace('X', '--', 1) }} {{ 'aa'.replace('', '.') }} {{ 'abc'|replace('b', 5) }} {{ 'aaa'|replace('a', 'b', 2) }}
{{ 'aoboc'.find('o', -2) }} {{ 'aoboc'.find('o', -99) }} {{ 'äoböo'.rfind('o', -1) }} {{ 'aob'.index('b', -1) }} {{ 'aob'.find('o', 9) }}
{{ [{'a': {'b': 1}}, {}]|map(attribute='a.b', default='d')|list }} {{ [{'a': {}}]|map(attribute='a.b', default='d')|list }} {{ [{}]|map(attribute='a', default=none)|list }}
{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'äbc'.find('b') }} {{ 'abc'.find('z') }} {{ 'abcb'.rfind('b') }} {{ 'banana'.count('an') }} {{ ','.join(['a', 'b']) }} {{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ '12'.isdigit() }} {{ ''.isdigit() }} {{ ' '.isspace() }} {{ 'AB'.isupper() }} {{ 'a'.islower() }}
{{ '{} {1} {0}'.format(1, 2) }}
{{ '{} {}'.format('a', none) }} {{ '{0}{1}{0}'.format('a', 'b') }} {{ '{x}{{}}'.format(x=1) }} {{ '{:.2f}'.format(3.14159) }} {{ '{!r}'.format('q') }} {{ '{a.b}'.format(a={'b': 1}) }}
{{ '%s is %d and %.1f%%' % ('x', 3, 2.55) }} {{ '%s' % n }} {{ '%r' % 'a' }} {{ '%s and %s'|format('a', 'b') }} {{ '%(a)s'|format(a=1) }}
{{ "a\nb\n\nc"|indent }}|{{ "a\nb"|indent(2, true) }}|{{ "a\n\nb"|indent(1, blank=true) }}|{{ "a\nb"|indent('> ') }}|{{ '{\n'|indent(4, first=true) }}
{{ name|e }} {{ 'a<'|safe + '<b>' }} {{ '<' + ('b'|safe) }} {{ ('<'|safe) ~ '>' }} {{ name|safe|string }} {{ 'x'|safe is escaped }}
{{ 'abc'|length }} {{ 'ä😀'|length }} {{ tool|length }} {{ items|count }} {{ 'two words'|wordcount }} {{ 5|string + 'a' }} {{ 'ab'|list }} {{ (1, 2)|list }} {{ deep|string }}
{{ n is odd }} {{ n is even }} {{ n is divisibleby 7 }} {{ n is divisibleby(2) }} {{ n is number }} {{ n is integer }} {{ x is float }} {{ yes is boolean }} {{ yes is true }} {{ n is true }} {{ yes is false }} {{ nothing is none }} {{ n is none }} {{ tool is mapping }} {{ items is mapping }} {{ items is sequence }} {{ 'a' is sequence }} {{ n is iterable }} {{ tool is iterable }} {{ 'a' is string }} {{ 'a' is lower }} {{ 'A' is upper }} {{ n is sameas n }} {{ n is eq 7 }} {{ n is gt(3) }} {{ n is in [7] }} {{ range is callable }} {{ 'upper' is filter }} {{ 'odd' is test }} {{ n is not none and n is defined }} {{ big is integer }}
{{ tool.get('type') }} {{ tool.get('nope') }} {{ tool.get('nope', 'd') }} {{ tool.keys()|list }} {{ tool.values()|list|length }} {{ tool.items()|list|first|first }} {{ deep.keys() }} {{ deep.items() }} {{ items.index(1) }} {{ items.count(1) }} {{ dict(a=1, b=2) }} {{ dict([('x', 1)]) }} {{ dict(deep, z=1) }}
{{ items.append(4) }}
{% set q = items.append %}{{ q is defined }}
{{ tool.pop('type') }}
{{ ''.__class__ }}|{{ tool._x is defined }}
{{ strftime_now('%Y-%m-%d %H:%M:%S %d %b %B %A %j %y %p %I %% %f [%z%Z]') }}
{{ raise_exception('no ' + name) }}
{{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ [1] * 2 }} {{ 'a' * 0 }} {{ [1] + [2] }} {{ (1,) + (2,) }}
{{ 1 / 0 }}
{{ items.x.y }}
{{ nope(1) }}
{{ n() }}
{% set x = [1, 2] %}{% set y = x + [3] %}{{ x }}{{ y }}{{ {'a': 1} == {'a': 1.0} }}{{ [1] == (1,) }}{{ 'a' == 1 }}
{% if tool is defined and tool.function is defined and tool.function.name != '' %}chain{% endif %}{{ (items|length > 2) and (text|length) }}
{% for i in items -%}
   {{ i }}
{%- endfor %}

end
{% for i in items %}
  {{ i }}
{% endfor %}
  {% if yes %}
kept
  {%+ if yes %}plus{% endif +%}

  {% endif %}
last
{{- ' a ' -}}   b   {{ 'c' }}
{{ none|selectattr('a')|list }}{{ nothing|map('upper')|list }}{{ nothing|rejectattr('a', 'eq', 1)|list }}
{{ people|tojson|length }} {{ people|map(attribute='name')|tojson }}
{{ people|map(attribute='name')|list|tojson }} {{ people[0].tags.0 }} {{ people.0.name }}
{% for g in items %}{{ loop.cycle('a', 'b') }}{{ loop.changed(g > 1) }}{% endfor %}
{{ lines|trim|length }}{{ 'a.b'|replace('.', '\n') }}{{ [1,2,]|length }}{{ {'a': 1,}|length }}
{{ f"x" }}
{{ 'x' | nofilter }}
{% if false %}{{ 'x' | nofilter }}{% endif %}ok
{{ 'x' is notest }}
{{ 'x'|nofilter if false else 'y' }}
{% unknown %}
{% if %}{% endif %}
{{ (1 }}
{{ 'open
{% for x in %}{% endfor %}
{% endif %}
{% if yes %}
{{ }}
{{ 1 | }}
{{ a..b }}
{{ 1 2 }}
{{ loop }}
{% for i in items %}{% for j in items %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}
{% set ns = namespace() %}{% set ns._a = 1 %}
{{ none|tojson }}{{ [nothing, yes]|tojson }}{{ 'a' is in 'abc' }}{{ 3 in {3: 4} }}
{{ 'abc'[1] }}{{ 'abc'[-1] }}{{ 'abc'[9] }}{{ '😀ä'[1] }}{{ 'abc'[1:][0] }}
{{ not none }}{{ not not 1 }}{{ 1 and 0 }}{{ -1 ** 2 }}{{ (-1) ** 2 }}{{ - 1|abs }}
{% for k, v in {'b': 1, 'a': 2}.items()|sort %}{{ k }}{{ v }}{% endfor %}{% for k in {'b': 1, 'a': 2}|sort %}{{ k }}{% endfor %}
""".strip("\n")


def snippets():
    """Blocks: a line each, but lines that begin a block run on to its end as one."""
    lines = SNIPPETS.split("\n")
    joined, i = [], 0
    while i < len(lines):
        if lines[i] == "{% for i in items -%}":
            joined.append("\n".join(lines[i:i + 5]))
            i += 5
        elif lines[i] == "{% for i in items %}":
            joined.append("\n".join(lines[i:i + 10]))
            i += 10
        elif lines[i].startswith("a {#-"):
            joined.append("\n".join(lines[i:i + 2]))
            i += 2
        else:
            joined.append(lines[i])
            i += 1
    return joined + ["a\n", "a\n\n", "a\r\nb\r\n", "", "\n", "{% if yes %}\n\na\n{% endif %}\n\n"]


# --- cases: conversations as users send them

SYSTEMS = [None, None, "You are terse.", "", "Zeile 1\n\n  Zeile 2 – ünïcode 😀  "]
USERS = ["Hello!", "", "  spaced  ", "What is 2+2?\n\nShow steps.", "日本語で答えて", "<|im_end|> [INST] </s> <think>",
         "a </think> b", "{{ messages }} {% raw %}", "tab\tand \"quotes\" and \\ and 'single'", "\n\nlines\n\n",
         "emoji 👩‍👩‍👧 \u200b\u00a0", "x" * 300]
ANSWERS = ["Hi.", "", "<think>\nsecret\n</think>\n\nFour.", "<think>only", "Sure:\n```py\nprint(1)\n```", " led by space",
           "no newline</think>tail"]
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Weather of a place — now",
           "parameters": {"type": "object", "properties": {
               "place": {"type": "string", "description": "City <& \"state\""},
               "unit": {"type": "string", "enum": ["C", "F"], "default": "C"}}, "required": ["place"]}}}
SEARCH = {"type": "function", "function": {"name": "search", "description": "", "parameters": {"type": "object", "properties": {
    "query": {"type": "string", "description": "Words"}, "limit": {"type": "integer", "minimum": 1, "maximum": 18446744073709551615},
    "filters": {"type": "array", "items": {"type": "object", "properties": {"key": {"type": "string"},
        "values": {"type": "array", "items": {"type": "number"}}}, "required": ["key"]}},
    "nested": {"type": "object", "properties": {"on": {"type": "boolean", "default": False}}}}, "required": ["query"]},
    "return": {"type": "object"}}}
PLAIN = {"type": "function", "function": {"name": "ping", "description": "No parameters", "parameters": {"type": "object", "properties": {}}}}
CALLS = [("get_weather", {"place": "Zürich", "unit": "C"}), ("search", {"query": "a\"b", "limit": 3, "filters": [{"key": "k", "values": [1.5, 2e-7]}], "nested": {"on": True}}),
         ("ping", {})]


def call(rng, index, as_text):
    name, arguments = rng.choice(CALLS)
    return {"id": f"call{index:05d}"[:9], "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments) if as_text else arguments}}


def conversation(rng, kind):
    messages = []
    system = rng.choice(SYSTEMS)
    if system is not None:
        messages.append({"role": rng.choice(["system"] * 9 + ["developer"]), "content": system})
    for turn in range(rng.choice([1, 1, 2, 3, 5])):
        if kind == "parts" and rng.random() < 0.7:
            content = [{"type": "text", "text": rng.choice(USERS)} for _ in range(rng.choice([1, 2]))]
        else:
            content = rng.choice(USERS)
        message = {"role": "user", "content": content}
        if rng.random() < 0.1:
            message["name"] = "Zoë"
        messages.append(message)
        if kind == "calls" and rng.random() < 0.8:
            n = rng.choice([1, 1, 2])
            calls = [call(rng, turn * 2 + i, rng.random() < 0.3) for i in range(n)]
            message = {"role": "assistant", "content": rng.choice(["", "Let me look.", None]), "tool_calls": calls}
            if rng.random() < 0.3:
                message["reasoning_content"] = "I need a tool."
            if message["content"] is None and rng.random() < 0.5:
                del message["content"]
            messages.append(message)
            for made in calls:
                messages.append({"role": "tool", "tool_call_id": made["id"], "name": made["function"]["name"],
                                 "content": rng.choice(["18 °C", '{"t": 18.5, "ok": true}', ""])})
        answer = {"role": "assistant", "content": rng.choice(ANSWERS)}
        if kind == "reasoning" and rng.random() < 0.8:
            answer[rng.choice(["reasoning_content", "reasoning"])] = rng.choice(["step one\nstep two", " ", "\nwhy?\n"])
        messages.append(answer)
    if rng.random() < 0.85:
        messages.pop() if messages[-1]["role"] == "assistant" else None
    if rng.random() < 0.04:
        messages.insert(rng.randrange(len(messages) + 1), {"role": "user", "content": "again"})
    return messages


def cases(n):
    rng = random.Random(15)
    made = []
    for i in range(n):
        kind = ["plain", "calls", "reasoning", "parts", "plain", "calls"][i % 6]
        variables = {"messages": conversation(rng, kind)}
        tools = None
        if kind == "calls" or rng.random() < 0.15:
            tools = rng.choice([[WEATHER], [WEATHER, SEARCH], [SEARCH, PLAIN, WEATHER]])
        if kind == "calls" and rng.random() < 0.1:
            tools = None
        variables["tools"] = tools
        variables["add_generation_prompt"] = rng.random() < 0.8
        for name, values in {"enable_thinking": [True, False], "thinking": [True, False], "reasoning_effort": ["low", "high"],
                             "date_string": ["26 Jul 2024"], "documents": [None]}.items():
            if rng.random() < 0.25:
                variables[name] = rng.choice(values)
        made.append(variables)
    return made


def as_transformers_gives(variables):
    """What the template itself gets: messages with their None members dropped and reasoning named twice."""
    given = {"bos_token": "<|bos|>", "eos_token": "<|eos|>", "documents": None, **variables}
    messages = chat_template_utils._normalize_chat_messages(variables["messages"])
    given["messages"] = chat_template_utils._alias_reasoning_fields(chat_template_utils._plain_template_data(messages))
    return given


def rendered_cases(name, source, all_cases, with_texts):
    hashes, texts = [], []
    for variables in all_cases:
        text = render(source, as_transformers_gives(variables))
        hashes.append("!" if text is None else fnv1a64(text))
        texts.append(text)
    made = {"name": name, "source": source, "hashes": hashes}
    if with_texts:
        made["texts"] = texts
    return made


# --- bodies of OpenAI's API

def body_of(case):
    """The case as a client of OpenAI's API writes it: arguments as texts."""
    messages = json.loads(json.dumps(case["messages"]))
    for message in messages:
        message["role"] = "system" if message["role"] == "developer" else message["role"]
        for called in message.get("tool_calls", []):
            arguments = called["function"]["arguments"]
            called["function"]["arguments"] = arguments if isinstance(arguments, str) else json.dumps(arguments)
    kwargs = {k: v for k, v in case.items() if k not in ("messages", "tools", "add_generation_prompt", "documents")}
    body = {"messages": messages, "add_generation_prompt": case["add_generation_prompt"], "chat_template_kwargs": kwargs}
    if case["tools"] is not None:
        body["tools"] = case["tools"]
    return body


def shows_tools(source):
    probe = [{"role": "system", "content": "Be."}, {"role": "user", "content": "Do."}]
    tool = json.loads(json.dumps(PLAIN))
    tool["function"]["name"] = "needle_tool"
    return any("needle_tool" in (render(source, as_transformers_gives(
        {"messages": messages, "tools": [tool], "add_generation_prompt": True})) or "")
        for messages in (probe[1:], probe))


def reads_parts(source):
    probe = [{"role": "user", "content": [{"type": "text", "text": "needle"}]}]
    text = render(source, as_transformers_gives({"messages": probe, "tools": None, "add_generation_prompt": True}))
    return text is not None and "needle" in text and "'text': 'needle" not in text and '"text": "needle' not in text


def as_variant(body, keeps_parts, as_dict, empty):
    messages = json.loads(json.dumps(body["messages"]))
    for message in messages:
        if isinstance(message.get("content"), list) and not keeps_parts:
            message["content"] = "\n".join(part["text"] for part in message["content"])
        if empty and message.get("content") is None:
            message["content"] = ""
        for called in message.get("tool_calls", []):
            if as_dict:
                called["function"]["arguments"] = json.loads(called["function"]["arguments"])
    return as_transformers_gives({"messages": messages, "tools": body.get("tools"),
                                  "add_generation_prompt": body["add_generation_prompt"], **body["chat_template_kwargs"]})


def variant_of(source):
    """How the template shows a call: with its arguments as a dict, and an empty content; None: it does not."""
    called = {"id": "needle000", "type": "function", "function": {"name": "needle_name", "arguments": '{"needle": "b"}'}}
    body = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [called]},
                         {"role": "tool", "tool_call_id": "needle000", "name": "needle_name", "content": "c"}],
            "add_generation_prompt": True, "chat_template_kwargs": {}}
    if shows_tools(source):
        body["tools"] = [PLAIN]
    doubtful = None
    for variant in [(True, False), (True, True), (False, False), (False, True)]:
        text = render(source, as_variant(body, True, *variant)) or ""
        if "needle_name" not in text or "needle" not in text.replace("needle_name", "").replace("needle000", ""):
            continue
        if "'needle'" not in text and '\\"needle' not in text:
            return variant
        doubtful = doubtful or variant
    return doubtful


def rendered_body(source, body, keeps_parts, variant):
    """What transformers makes of it; "tools": the template does not show those it is given."""
    if "tools" in body and not shows_tools(source):
        return "tools"
    if variant is None and any("tool_calls" in message for message in body["messages"]):
        return None
    return render(source, as_variant(body, keeps_parts, *(variant or (True, False))))


def bodies(path, n, sources):
    all_bodies = [body_of(case) for case in cases(n)]
    made = []
    for name, source in sources.items():
        shape = reads_parts(source), variant_of(source)
        texts = [rendered_body(source, body, *shape) for body in all_bodies]
        marks = {None: "!", "tools": "tools"}
        made.append({"name": name, "hashes": [marks[t] if t in marks else fnv1a64(t) for t in texts]})
        if n > 200:
            made[-1].update(source=source, texts=texts)
        print(f"{name}: {sum(len(h) == 16 for h in made[-1]['hashes'])} rendered, parts, dicts and empty contents: {shape}")
    write(path, {"bodies": all_bodies, "templates": made})


def source_of(path):
    if path.suffix != ".gguf":
        return path.read_text()
    key = b"tokenizer.chat_template"  # then its type (8, a string), its length and itself
    head = path.open("rb").read(64 << 20)
    at = head.find(key + struct.pack("<I", 8))
    if at < 0:
        return None
    at += len(key) + 4
    size, = struct.unpack_from("<Q", head, at)
    return head[at + 8:at + 8 + size].decode()


def write(path, parts):
    path = pathlib.Path(path)
    lines = []
    for key, values in parts.items():
        lines.append(json.dumps(key) + ":[\n" + ",\n".join(json.dumps(v, ensure_ascii=False) for v in values) + "\n]")
    path.write_text("{" + ",\n".join(lines) + "}\n")


def main(arguments):
    if arguments[0] == "own":
        all_cases = cases(300)
        sources = {path.stem: path.read_text() for path in sorted(pathlib.Path(arguments[1]).glob("*.jinja"))}
        write(arguments[2], {
            "variables": [VARIABLES],
            "snippets": [{"source": source, "text": render(source, VARIABLES)} for source in snippets()],
            "cases": [as_transformers_gives(case) for case in all_cases],
            "templates": [{k: v for k, v in rendered_cases(name, source, all_cases, False).items() if k != "source"}
                          for name, source in sources.items()]})
    elif arguments[0] == "bodies":
        sources = {path.name: source_of(path) for path in map(pathlib.Path, arguments[3:])}
        bodies(arguments[1], int(arguments[2]), {name: source for name, source in sources.items() if source is not None})
    else:
        all_cases = cases(480)
        made = []
        for path in map(pathlib.Path, arguments[2:]):
            source = source_of(path)
            if source is None:
                print(f"{path.name}: no template")
                continue
            made.append(rendered_cases(path.name, source, all_cases, True))
            print(f"{path.name}: {sum(h != '!' for h in made[-1]['hashes'])} rendered, {made[-1]['hashes'].count('!')} refused")
        write(arguments[1], {"cases": [as_transformers_gives(case) for case in all_cases], "templates": made})


if __name__ == "__main__":
    main(sys.argv[1:])
