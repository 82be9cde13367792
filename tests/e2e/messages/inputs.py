"""Wrong inputs, each at the door where it comes in, with what its message has to name.

A door is a class of messages_test.py. `names`: the field or file, the value, the place and the way out, as far as the
input has them; each has to stand in the message. What else the message says stands in page.txt.
"""
from messages_test import Batch, Config, Get, Jobctl, Post

CHAT = {"messages": [{"role": "user", "content": "Hello."}], "max_tokens": 2}


def line(custom_id="a", **more):
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": dict(CHAT, **more)}


GOOD = line("good")
TOOL = {"type": "function", "function": {"name": "get_weather"}}
BODY = '{"messages":[{"role":"user","content":"q"}],"max_tokens":2%s}'
LINE = '{"custom_id":"a","body":' + BODY + "}"

INPUTS = [
    # --- a file of batch lines
    ("a file in UTF-16", Batch(("\ufeff" + LINE % "").encode("utf-16-le")), ["UTF-16", "UTF-8"]),
    ("a byte of Latin-1", Batch(GOOD, LINE.replace('"q"', '"caf\xe9"').encode("latin-1").replace(b"%s", b"")),
     ["line 2", "byte ", '"a"', "UTF-8"]),
    ("half of a surrogate pair", Batch(LINE.replace('"q"', '"\\ud83d"') % ""), ["line 1", "surrogate"]),
    ("NaN", Batch(GOOD, LINE % ',"temperature":NaN'), ["line 2", "byte ", "NaN", '"a"']),
    ("a comma behind the last member", Batch(LINE % ","), ["line 1", "byte ", "comma"]),
    ("single quotes", Batch("{'custom_id':'a'}"), ["line 1", "byte 2", "single quote"]),
    ("33 levels in one line of two", Batch(GOOD, '{"custom_id":"a","body":{"messages":' + "[" * 32 + "]" * 32 + "}}"), ["body", "32 levels", '"a"']),
    ("an array of lines", Batch([GOOD]), ["line 1", "array"]),
    ("pretty-printed JSON", Batch("{\n  \"custom_id\": \"a\"\n}"), ["line 1", "one line"]),
    ("a custom_id that is a number", Batch(line(17)), ["line 1", "custom_id", "17", "string"]),
    ("a custom_id twice", Batch(line("a"), line("a")), ["line 2", 'custom_id "a"', "line 1"]),
    ("no custom_id", Batch({"body": CHAT}), ["line 1", "custom_id"]),
    ("an empty file", Batch(b""), ["in.jsonl"]),
    ("a model that is not here", Batch(line(model="gpt-4o")), ["gpt-4o", "tiny", "--model"]),
    ("a model that is not here, in one line of two", Batch(GOOD, line(model="gpt-4o")), ["gpt-4o"]),
    ("a bare chat body", Batch(CHAT), ["line 1", "custom_id"]),
    ("a line of Anthropic's", Batch({"custom_id": "a", "params": dict(CHAT, model="claude")}), ["body"]),
    ("another endpoint", Batch(GOOD, dict(line(), url="/v1/embeddings")), ["/v1/embeddings", "/v1/chat/completions"]),
    ("an endpoint and a url", Batch(GOOD, dict(line(), endpoint="/v1/embeddings")), ["/v1/embeddings", "/v1/chat/completions"]),
    ("a temperature of 9", Batch(GOOD, line(temperature=9)), ["temperature", "9", "2"]),
    ("the input as the output", Batch(GOOD, output="in.jsonl"), ["in.jsonl", "another -o"]),
    ("a file of somebody's as the output", Batch(GOOD, output="theirs.txt"), ["theirs.txt", "another -o"]),
    ("an input that is not there", Jobctl("batch", "run", "nothing.jsonl", "-o", "out.jsonl"), ["nothing.jsonl"]),
    ("a life of no unit", Batch(GOOD, options=["--retention", "60"]), ["--retention", "60", "60m"]),
    ("a priority that there is not", Batch(GOOD, options=["--priority", "urgent"]), ["--priority", "urgent", "high"]),
    ("a deadline that has passed", Batch(GOOD, options=["--deadline", "2020-01-01T00:00:00Z"]),
     ["deadline", "2020-01-01", "passed"]),
    # --- jobctl
    ("a subcommand mistyped", Jobctl("submt", "--prompt", "x"), ["submt", "submit"]),
    ("an option mistyped", Jobctl("list", "--stat", "queued"), ["--stat", "--state"]),
    ("a state that there is not", Jobctl("list", "--state", "runing"), ["--state", "runing", "queued"]),
    ("more than a page", Jobctl("list", "--limit", "5000"), ["--limit", "5000", "1000"]),
    ("a deadline without a unit", Jobctl("submit", "--prompt", "x", "--deadline", "+8"), ["--deadline", '"8"', "8h"]),
    ("a deadline in words", Jobctl("submit", "--prompt", "x", "--deadline", "tomorrow"),
     ["--deadline", "tomorrow", "+8h", "2026-12-01T18:00"]),
    ("a deadline of a variable that is not set", Jobctl("submit", "--prompt", "x", "--deadline", ""), ["--deadline", '""']),
    ("a start behind the deadline",
     Jobctl("submit", "--prompt", "x", "--deadline", "2090-01-01T00:00:00Z", "--run-at", "2091-01-01T00:00:00Z"),
     ["--run-at", "2091", "--deadline", "2090"]),
    ("a body that is no JSON", Jobctl("submit", "--file", "-", stdin="hello"), ["JSON", "standard input", "byte 1"]),
    ("a batch that there is not", Jobctl("batch", "status", "batch_17"), ["batch_17"]),
    ("a run that there is not", Jobctl("batch", "cancel", "./out.jsonl.parkd-run"), ["out.jsonl.parkd-run", "batch"]),
    ("a requeue of everything", Jobctl("requeue"), ["--batch", "--code"]),
    ("a cursor that no answer gave", Jobctl("mailbox", "box", "--cursor", "17x"), ["cursor", "17x"]),
    ("a socket that nobody serves", Jobctl("--socket", "nobodys.sock", "models"), ["nobodys.sock", "--socket"]),
    # --- HTTP
    ("no JSON", Post("/v1/jobs", b"hello"), ["JSON"]),
    ("a bare chat body", Post("/v1/jobs", dict(CHAT, model="tiny")), ["body"]),
    ("a member twice", Post("/v1/jobs", b'{"body":' + (BODY % "").encode() + b',"custom_id":"a","custom_id":"b"}'),
     ["custom_id"]),
    ("a field that there is not", Post("/v1/jobs", {"body": CHAT, "colour": "red"}), ["colour"]),
    ("a field of the body that there is not", Post("/v1/jobs", {"body": dict(CHAT, colour="red")}), ["colour"]),
    ("an instant in words", Post("/v1/jobs", {"body": CHAT, "deadline": "tomorrow"}),
     ["deadline", "tomorrow", "2026-12-01T18:00:00Z"]),
    ("an empty instant", Post("/v1/jobs", {"body": CHAT, "run_at": ""}), ["run_at", '""', "2026-12-01T18:00:00Z"]),
    ("an empty deadline of a batch", Post("/v1/batches", {"deadline": ""}), ["deadline", '""', "2026-12-01T18:00:00Z"]),
    ("a zone that there is not", Post("/v1/jobs", {"body": CHAT, "run_at": "2090-01-01T00:00:00+99:00"}),
     ["run_at", "+99:00"]),
    ("max_tokens below one", Post("/v1/jobs", {"body": dict(CHAT, max_tokens=-1)}), ["max_tokens", "-1"]),
    ("half a seed", Post("/v1/jobs", {"body": dict(CHAT, seed=1.5)}), ["seed", "1.5"]),
    ("five stops", Post("/v1/jobs", {"body": dict(CHAT, stop=list("abcde"))}), ["stop", "4"]),
    ("no message", Post("/v1/jobs", {"body": {"messages": []}}), ["messages"]),
    ("a stream", Post("/v1/jobs", {"body": dict(CHAT, stream=True)}), ["stream"]),
    ("tools that the template does not read", Post("/v1/jobs", {"body": dict(CHAT, tools=[TOOL])}), ["tools", "leave them out", "tool_choice"]),
    ("a call that is forced", Post("/v1/jobs", {"body": dict(CHAT, tools=[TOOL], tool_choice="required")}), ["tool_choice", "auto", "none"]),
    ("a tool without a name", Post("/v1/jobs", {"body": dict(CHAT, tools=[{"type": "function", "function": {}}])}),
     ["tools[0].function.name", "64"]),
    ("a result of no call", Post("/v1/jobs", {"body": dict(CHAT, messages=[{"role": "tool", "content": "18"}])}),
     ["messages[0].tool_call_id"]),
    ("more than the context holds", Post("/v1/jobs", {"body": dict(CHAT, messages=[{"role": "user", "content": "a " * 5000}])}),
     ["2048"]),
    ("a model that is not here", Post("/v1/jobs", {"body": dict(CHAT, model="gpt-4o")}), ["model", "gpt-4o"]),
    ("a life of five seconds", Post("/v1/jobs", {"body": CHAT, "retention_s": 5}), ["retention", "5", "60"]),
    ("the second of two jobs", Post("/v1/jobs", {"jobs": [{"body": CHAT}, {"body": dict(CHAT, top_p=2)}]}),
     ["jobs[1]", "top_p", "2"]),
    ("a deadline of forty days", Post("/v1/batches", {"deadline": "2090-01-01T00:00:00Z"}), ["deadline", "30 days"]),
    ("a query that there is not", Get("/v1/jobs?stat=queued"), ["stat", "state"]),
    ("a page of no size", Get("/v1/jobs?limit=0"), ["limit", "0", "1000"]),
    ("a job's id in words", Get("/v1/jobs/abc"), ["id", "abc"]),
    ("a path that there is not", Get("/v1/job/17"), ["/v1/job/17"]),
    # --- the configuration
    ("a tab", Config("models:\n\t- name: tiny\n"), ["2", "tab"]),
    ("a key that there is not", Config("daemon:\n  sokcet: /x\n"), ["sokcet", "2:"]),
    ("a model's file that is not there", Config("models:\n  - name: tiny\n    local_path: nothing.gguf\n"),
     ["nothing.gguf"]),
]
