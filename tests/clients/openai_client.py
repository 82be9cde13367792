#!/usr/bin/env python3
"""The unmodified `openai` package against a real daemon (tests/clients/run.sh installs it).

    openai_client.py PARKD MAKE_TINY_MODEL socket|tcp
    tools/pg_sandbox.sh openai_client.py PARKD MAKE_TINY_MODEL postgres

Every answer is read into the package's own types, strictly: a field of another type is an error.
"""
import asyncio
import atexit
import json
import signal
import sys
import threading
import time

import httpx
import openai
from openai.types import Completion, FileDeleted, FileObject, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response

import batches
import webhooks
from daemon import MESSAGES, Daemon, refused, strictly, strictly_listed


def models(daemon):
    raw = daemon.client.models.with_raw_response
    assert strictly_listed(Model, raw.list()).data == [strictly(Model, raw.retrieve("tiny"))]
    refused(openai.NotFoundError, lambda: daemon.client.models.retrieve("none/such"))


def chat(daemon):
    create = daemon.client.chat.completions.create
    raw = daemon.client.chat.completions.with_raw_response.create
    answer = strictly(ChatCompletion, raw(model="tiny", messages=MESSAGES, max_tokens=5, seed=1))
    assert answer.usage.completion_tokens == 5 and answer.choices[0].finish_reason == "length", answer
    assert answer.model == "tiny" and answer.system_fingerprint, answer
    again = create(model="tiny", messages=MESSAGES, max_tokens=5, seed=1)
    assert again.choices[0].message.content == answer.choices[0].message.content
    many = strictly(ChatCompletion, raw(model="tiny", messages=MESSAGES, max_completion_tokens=3, n=3, logprobs=True,
                                        top_logprobs=2, stop=["zz"], temperature=0.5, user="me", store=False))
    assert [choice.index for choice in many.choices] == [0, 1, 2]
    assert len(many.choices[0].logprobs.content[0].top_logprobs) == 2


def completions(daemon):
    answer = strictly(Completion, daemon.client.completions.with_raw_response.create(model="tiny", prompt="abc",
                                                                                     max_tokens=3))
    assert answer.usage.completion_tokens == 3, answer


def responses(daemon):
    create = daemon.client.responses.create
    raw = daemon.client.responses.with_raw_response.create
    biased = {"logit_bias": {"100": 100}}  # so that it goes on until its limit
    whole = raw(model="tiny", input="Say something.", instructions="Be short.", max_output_tokens=5, temperature=0.5,
                top_p=0.5, metadata={"für": "München"}, text={"format": {"type": "text"}}, tools=[], tool_choice="none",
                parallel_tool_calls=False, truncation="disabled", store=False, user="me", safety_identifier="id",
                prompt_cache_key="key", service_tier="auto", include=[], extra_body={"seed": 1, "top_k": 40, **biased})
    answer = strictly(Response, whole)
    assert answer.id == f"resp_{whole.headers['x-parkd-job-id']}" and answer.object == "response", answer
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens"), answer
    assert (answer.error, answer.model, answer.instructions) == (None, "tiny", "Be short."), answer
    assert (answer.temperature, answer.top_p, answer.max_output_tokens) == (0.5, 0.5, 5), answer
    assert (answer.tools, answer.tool_choice, answer.parallel_tool_calls) == ([], "none", False), answer
    assert answer.metadata == {"für": "München"} and answer.text.format.type == "text", answer
    assert [item.type for item in answer.output] == ["message"] and answer.output_text, answer
    usage = answer.usage
    assert (usage.output_tokens, usage.total_tokens) == (5, usage.input_tokens + 5), usage
    details = usage.input_tokens_details
    assert details.cached_tokens + details.cache_write_tokens == usage.input_tokens, usage
    again = create(model="tiny", input="Say something.", instructions="Be short.", max_output_tokens=5, temperature=0.5,
                   top_p=0.5, extra_body={"seed": 1, "top_k": 40, **biased})
    assert again.output_text == answer.output_text and again.usage.input_tokens_details.cached_tokens > 0, again
    # As a chat's, and what was answered goes on as it was answered.
    chat = daemon.client.chat.completions.create(
        model="tiny", messages=[{"role": "system", "content": "Be short."}, *MESSAGES], max_tokens=5, temperature=0.5,
        top_p=0.5, seed=1, extra_body={"top_k": 40, **biased})
    assert chat.choices[0].message.content == answer.output_text, (chat, answer)
    turns = [{"role": "user", "content": [{"type": "input_text", "text": "Say something."}]},
             *[item.to_dict() for item in answer.output], {"role": "user", "content": "And more."}]
    more = strictly(Response, raw(model="tiny", input=turns, extra_body={"seed": 2}, max_output_tokens=3))
    assert more.usage.input_tokens > usage.input_tokens, (more, usage)
    assert (more.instructions, more.metadata, more.tool_choice) == (None, {}, "auto"), more
    bad = openai.BadRequestError
    good = dict(model="tiny", input="Hi")
    for field, value in [("max_output_tokens", 0), ("temperature", 9), ("stream", True), ("background", True),
                         ("previous_response_id", answer.id), ("conversation", "conv_1"), ("prompt", {"id": "p"}),
                         ("include", ["reasoning.encrypted_content"]), ("truncation", "auto"), ("max_tool_calls", 1),
                         ("tools", [{"type": "web_search"}]), ("tool_choice", "required"), ("top_logprobs", 2)]:
        refused(bad, lambda: create(**{**good, field: value}), param=field, code="invalid_request")
    refused(bad, lambda: create(**good, reasoning={"effort": "low"}), param="reasoning.effort")
    refused(bad, lambda: create(**good, text={"format": {"type": "json_object"}}), param="text.format")
    refused(bad, lambda: create(**good, extra_body={"max_tokens": 5}), param="max_tokens")
    refused(bad, lambda: create(model="tiny", input=[{"role": "user", "content": [
        {"type": "input_image", "image_url": "x", "detail": "auto"}]}]), param="input[0].content[0].type")
    refused(bad, lambda: create(model="tiny", input="x" * 20000), param="input", code="context_length_exceeded")
    refused(openai.NotFoundError, lambda: create(model="none-such", input="Hi"), param="model", code="model_not_found")


def errors(daemon):
    create = daemon.client.chat.completions.create
    refused(openai.NotFoundError, lambda: create(model="none-such", messages=MESSAGES), param="model",
            code="model_not_found")
    refused(openai.BadRequestError, lambda: create(model="tiny", messages=MESSAGES, temperature=9), param="temperature")
    refused(openai.BadRequestError, lambda: create(model="tiny", messages=[]), param="messages")
    refused(openai.BadRequestError, lambda: create(model="tiny", messages=MESSAGES, stream=True,
                                                   stream_options={"usage": True}), param="stream_options.usage")
    refused(openai.BadRequestError, lambda: create(model="tiny", messages=[{"role": "user", "content": "x" * 20000}]),
            param="messages", code="context_length_exceeded")
    keyed = {"Idempotency-Key": "other"}
    create(model="tiny", messages=MESSAGES, max_tokens=2, extra_headers=keyed)
    refused(openai.UnprocessableEntityError,
            lambda: create(model="tiny", messages=MESSAGES, max_tokens=3, extra_headers=keyed))


def strict_chunks(daemon, path, kind, body):
    """Each chunk of a stream as it stands on the wire."""
    with daemon.http().stream("POST", path, json={**body, "stream": True}) as response:
        chunks = [line[6:] for line in response.iter_lines() if line.startswith("data: {")]
    assert len(chunks) > 2, chunks
    for chunk in map(json.loads, chunks):
        # OpenAI sends null in the text chunks before the last, too, which its package's type does not know.
        for choice in chunk["choices"] if kind is Completion else []:
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        kind.model_validate_json(json.dumps(chunk), strict=True)


def glued(stream, kind):
    """The texts of the choices that a stream tells of, and what stands in its chunks beside them."""
    texts, reasons, usage = {}, {}, None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            assert choice.index not in reasons, "nothing follows the end of a choice"
            text = choice.delta.content if kind is ChatCompletionChunk else choice.text
            texts[choice.index] = texts.get(choice.index, "") + (text or "")
            if choice.finish_reason:
                reasons[choice.index] = choice.finish_reason
    return texts, reasons, usage


def streams(daemon):
    create = daemon.client.chat.completions.create
    body = dict(model="tiny", messages=MESSAGES, max_tokens=50, seed=1, n=2, temperature=1.0, logprobs=True)
    whole = create(**body)
    texts, reasons, usage = glued(create(**body, stream=True, stream_options={"include_usage": True}),
                                  ChatCompletionChunk)
    assert texts == {choice.index: choice.message.content for choice in whole.choices}, (texts, whole)
    assert reasons == {choice.index: choice.finish_reason for choice in whole.choices}
    assert usage.completion_tokens == whole.usage.completion_tokens
    strict_chunks(daemon, "chat/completions", ChatCompletionChunk, {**body, "stream_options": {"include_usage": True}})
    body = dict(model="tiny", prompt=["abc", "de"], max_tokens=20, seed=1, logprobs=2)
    whole = daemon.client.completions.create(**body)
    texts, reasons, _ = glued(daemon.client.completions.create(**body, stream=True), Completion)
    assert texts == {choice.index: choice.text for choice in whole.choices}, (texts, whole)
    strict_chunks(daemon, "completions", Completion, body)
    # The package's own way to put chunks together.
    with daemon.client.chat.completions.stream(model="tiny", messages=MESSAGES, max_tokens=20, seed=1) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "content.delta"]
    again = create(model="tiny", messages=MESSAGES, max_tokens=20, seed=1)
    assert snapshots[-1] == again.choices[0].message.content, (snapshots, again)


def fifty_streams_and_a_kill(daemon):
    """kill -9 in the middle of fifty streams: each goes on behind its last event, byte for byte."""
    http = daemon.http()

    def read(response, into):
        try:
            for line in response.iter_lines():
                if line.startswith("id: "):
                    into["id"] = line[4:]
                if line.startswith("event: restarted"):
                    into["restarted"] = True
                if line == "data: [DONE]":
                    into["done"] = True
                elif line.startswith("data: "):
                    for choice in json.loads(line[6:])["choices"]:
                        into["text"] += choice["delta"].get("content", "")
        except httpx.TransportError:
            pass

    def begin(i, into):
        body = dict(model="tiny", messages=[{"role": "user", "content": f"Say {i}."}], max_tokens=3000, seed=i,
                    temperature=1.0, stream=True,
                    logit_bias={"3": -100})  # U+0000, in whose place PostgreSQL stores another character
        with http.stream("POST", "chat/completions", json=body) as response:
            into["job"] = response.headers["x-parkd-job-id"]
            read(response, into)

    told = [dict(text="", id=None) for _ in range(50)]
    readers = [threading.Thread(target=begin, args=(i, into)) for i, into in enumerate(told)]
    for reader in readers:
        reader.start()
    while sum(bool(into["text"]) for into in told) < 10 or not all("job" in into for into in told):
        time.sleep(0.01)
    daemon.stop(signal.SIGKILL)
    for reader in readers:
        reader.join()
    cut = sum("done" not in into for into in told)
    assert cut > 0
    daemon.start()
    for into in told:
        if "done" not in into:
            headers = {"Last-Event-ID": into["id"]} if into["id"] else {}
            with http.stream("GET", f"jobs/{into['job']}/stream", headers=headers) as response:
                read(response, into)
        message = http.get(f"jobs/{into['job']}").json()["response"]["body"]
        assert "done" in into and "restarted" not in into, into
        assert into["text"] == message["choices"][0]["message"]["content"], (into, message)
    print(f"    {cut} of 50 streams were cut, {sum(bool(into['id']) for into in told)} had told something")


def files(daemon):
    client = daemon.client
    lines = "".join(json.dumps({"custom_id": f"line {i}", "method": "POST", "url": "/v1/chat/completions",
                                "body": {"model": "tiny", "messages": MESSAGES}}) + "\n" for i in range(20_000))
    path = daemon.home / "requests.jsonl"
    path.write_text(lines)
    with open(path, "rb") as file:
        large = strictly(FileObject, client.files.with_raw_response.create(file=file, purpose="batch"))
    assert (large.bytes, large.filename, large.status) == (len(lines), "requests.jsonl", "processed"), large
    small = strictly(FileObject, client.files.with_raw_response.create(
        file=("ein Stück.jsonl", b"{}\n"), purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600}))
    assert small.filename == "ein Stück.jsonl" and small.expires_at - small.created_at == 3600, small
    daemon.stop(signal.SIGKILL)
    daemon.start()
    client = daemon.client
    assert strictly(FileObject, client.files.with_raw_response.retrieve(large.id)) == large
    assert client.files.content(large.id).text == lines
    with client.files.with_streaming_response.content(large.id) as response:
        assert b"".join(response.iter_bytes()) == lines.encode()
    # The package asks for page after page.
    assert [file.id for file in client.files.list(limit=1, order="asc")] == [large.id, small.id]
    assert [file.id for file in client.files.list(purpose="batch")] == [small.id, large.id]
    for file in [small, large]:
        assert strictly(FileDeleted, client.files.with_raw_response.delete(file.id)).deleted
    refused(openai.NotFoundError, lambda: client.files.retrieve(large.id))
    refused(openai.BadRequestError, lambda: client.files.create(file=("in.txt", b"x"), purpose="batch"), param="file")
    refused(openai.BadRequestError, lambda: client.files.create(file=("in.jsonl", b"x"), purpose="vision"),
            param="purpose")
    assert client.files.list().data == []


def many_at_once(daemon):
    async def run():
        client = openai.AsyncOpenAI(**daemon.address(httpx.AsyncClient))
        return await asyncio.gather(*[client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": f"Say {i}."}], max_tokens=8) for i in range(64)])
    answers = asyncio.run(run())
    assert len({answer.id for answer in answers}) == 64


def a_kill_while_it_waits(daemon):
    """The client sends its request again by itself, and gets the answer of its first job."""
    raw = daemon.client.with_options(max_retries=100).chat.completions.with_raw_response
    got = {}

    def call():
        got["answer"] = raw.create(model="tiny", messages=MESSAGES, max_tokens=8000, n=4,
                                   extra_headers={"Idempotency-Key": "through a kill"})
    caller = threading.Thread(target=call)
    caller.start()
    while not (jobs := daemon.live_jobs()):
        time.sleep(0.01)
    job = jobs[0]["id"]
    daemon.stop(signal.SIGKILL)
    daemon.start()
    caller.join()
    assert got["answer"].headers["x-parkd-job-id"] == str(job), got["answer"].headers
    strictly(ChatCompletion, got["answer"])


def tokens(daemon):
    """By TCP a wrong key is OpenAI's own error; on the socket a key means nothing."""
    stranger = daemon.client.with_options(api_key="of nobody")
    if daemon.door != "tcp":
        return stranger.models.list()
    refused(openai.AuthenticationError, stranger.models.list, status_code=401, code="invalid_api_key",
            type="invalid_request_error")


def main():
    daemon = Daemon(*sys.argv[1:4])
    daemon.start()
    atexit.register(lambda: daemon.process.poll() is None and daemon.stop(signal.SIGKILL))
    for test in [models, chat, completions, responses, errors, streams, tokens, files, many_at_once, a_kill_while_it_waits,
                 fifty_streams_and_a_kill, *batches.ALL, *webhooks.ALL]:
        test(daemon)
        print(f"ok  {daemon.door}: {test.__name__}")
    daemon.stop(signal.SIGTERM)
    assert daemon.process.returncode == 0, daemon.process.returncode


if __name__ == "__main__":
    main()
