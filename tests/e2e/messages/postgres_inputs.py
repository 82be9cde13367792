"""Wrong inputs at the doors to PostgreSQL: HTTP to a daemon on it, jobctl --dsn, INSERT and parkd.submit.

As in inputs.py; what has to be named is the same at each door of an input. DSN, HTTP_BATCH and SQL_BATCH are filled in.
"""
import json

from messages_test import Dsn, DsnBatch, Post, Sql

CHAT = {"messages": [{"role": "user", "content": "Hello."}], "max_tokens": 2}
GOOD = json.dumps(CHAT, separators=(",", ":"))


def insert(body=GOOD, **columns):
    names = "".join(", " + name for name in columns)
    values = "".join(", " + value for value in columns.values())
    return Sql(f"INSERT INTO parkd.jobs (model, body{names}) VALUES ('tiny', $${body}$${values})")


def submit(text):
    return Sql(f"SELECT * FROM parkd.submit($${text}$$)")


def bodies(title, body, names):
    """One body at every door."""
    text = body if isinstance(body, str) else json.dumps(dict(CHAT, **body), separators=(",", ":"))
    return [(title + ", HTTP", Post("/v1/jobs", '{"body":' + text + "}"), names),
            (title + ", jobctl --dsn", Dsn("submit", "--file", "-", stdin=text), names),
            (title + ", a batch's line", DsnBatch('{"custom_id":"a","body":' + text + "}"), names),
            (title + ", INSERT", insert(text), names),
            (title + ", parkd.submit", submit('{"model":"tiny","body":' + text + "}"), names)]


def fields(title, names, http, words, sql):
    """One field beside the body at every door."""
    doors = [("HTTP", Post("/v1/jobs", dict({"body": CHAT}, **http)))]
    if words is not None:
        doors.append(("jobctl --dsn", Dsn("submit", "--prompt", "x", *words)))
    doors.append(("INSERT", insert(**{name: f"'{value}'" for name, value in sql.items()})))
    doors.append(("parkd.submit", submit(json.dumps(dict({"model": "tiny", "body": CHAT}, **sql), separators=(",", ":")))))
    return [(f"{title}, {door}", sent, names) for door, sent in doors]


INPUTS = [
    *bodies("a member twice", GOOD[:-1] + ',"max_tokens":3}', ['"max_tokens"', "twice", "give it once"]),
    *bodies("a member twice within another", GOOD.replace('"role":"user"', '"role":"user","role":"user"'),
            ['"role"', "twice", "give it once"]),
    *bodies("33 levels", '{"messages":' + "[" * 32 + "]" * 32 + "}", ["body", "32 levels"]),
    *bodies("U+0000", GOOD.replace("Hello.", "\\u0000"), ["\\u0000", "remove it"]),
    *bodies("no JSON", "{'messages':[]}", ["JSON"]),
    *bodies("max_tokens below one", {"max_tokens": -1}, ["max_tokens", "-1", "2147483647"]),
    *bodies("half a seed", {"seed": 1.5}, ["seed", "1.5"]),
    *bodies("messages that are none", {"messages": "Hello."}, ["messages", "array"]),
    *bodies("a call that is forced", {"tools": [{"type": "function", "function": {"name": "get_weather"}}], "tool_choice": "required"},
            ["tool_choice", "auto", "none"])[:3],  # SQL takes it, and the daemon ends the job with these words
    *bodies("a stream", {"stream": True}, ["stream", "leave "]),
    ("a model that is not here, HTTP", Post("/v1/jobs", {"body": dict(CHAT, model="gpt-4o")}), ["gpt-4o", "tiny"]),
    ("a model that is not here, jobctl --dsn", Dsn("submit", "--prompt", "x", "--model", "gpt-4o"), ["gpt-4o", "tiny"]),
    ("a model that is not here, INSERT", Sql("INSERT INTO parkd.jobs (model, body) VALUES ('gpt-4o', '{}')"), ["gpt-4o", "tiny"]),
    ("a model that is not here, parkd.submit", submit('{"model":"gpt-4o","body":' + GOOD + "}"), ["gpt-4o", "tiny"]),
    *fields("a start behind the deadline", ["run_at", "2091-01-01", "2090-01-01", "earlier run_at, or a later deadline"],
            {"run_at": "2091-01-01T00:00:00Z", "deadline": "2090-01-01T00:00:00Z"}, None,
            {"run_at": "2091-01-01 00:00:00Z", "deadline": "2090-01-01 00:00:00Z"}),
    *fields("a deadline that has passed", ["deadline", "2020-01-01", "passed"], {"deadline": "2020-01-01T00:00:00Z"},
            ["--deadline", "2020-01-01T00:00:00Z"], {"deadline": "2020-01-01 00:00:00Z"}),
    *fields("a life of five seconds", ["retention", "5"], {"retention_s": 5}, ["--retention", "5s"], {"retention": "5 s"}),
    *fields("a priority that there is not", ["priority", "urgent"], {"priority": "urgent"}, ["--priority", "urgent"],
            {"priority": "urgent"}),
    *fields("a long custom_id", ["custom_id", "513", "512"], {"custom_id": "x" * 513}, ["--custom-id", "x" * 513],
            {"custom_id": "x" * 513}),
    ("a start behind the batch's deadline, HTTP",
     Post("/v1/jobs", {"body": CHAT, "batch_id": "HTTP_BATCH", "run_at": "2090-01-01T00:00:00Z"}),
     ["run_at", "2090-01-01", "HTTP_BATCH", "earlier run_at"]),
    ("a start behind the batch's deadline, INSERT", insert(batch_id="'SQL_BATCH'", run_at="'2090-01-01 00:00:00Z'"),
     ["run_at", "2090-01-01", "SQL_BATCH", "earlier run_at"]),
    ("a batch that there is not, INSERT", insert(batch_id="'batch_17'"), ["batch_id", "batch_17", "open_batch"]),
    ("a batch that there is not, jobctl --dsn", Dsn("batch", "status", "batch_17"), ["batch_17"]),
    ("a field that there is not, HTTP", Post("/v1/jobs", {"body": CHAT, "colour": "red"}), ["colour"]),
    ("a field that there is not, parkd.submit", submit('{"model":"tiny","colour":"red","body":' + GOOD + "}"), ["colour"]),
    ("a job's member twice, HTTP", Post("/v1/jobs", '{"custom_id":"a","custom_id":"b","body":' + GOOD + "}"),
     ['"custom_id"', "twice"]),
    ("a job's member twice, parkd.submit", submit('{"model":"tiny","custom_id":"a","custom_id":"b","body":' + GOOD + "}"),
     ['"custom_id"', "twice", "Job 1"]),
    ("a cursor that no answer gave, jobctl --dsn", Dsn("mailbox", "box", "--cursor", "17x"), ["cursor", "17x"]),
    ("nothing to submit, parkd.submit", submit("[]"), ["[]", "parkd.submit"]),
]
