"""Batches of files by OpenAI's package, against a daemon that is killed meanwhile."""
import json
import random
import signal
import time

import httpx
import openai
from openai.types import Batch, Completion, FileDeleted, FileObject
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from daemon import MESSAGES, refused, strictly, strictly_listed

CHAT = "/v1/chat/completions"
OVER = ("completed", "failed", "expired", "cancelled")
N_LINES = 1000
BAD_EVERY = 50
# What is wrong in a body, each of its own kind.
BAD = [{"temperature": 99}, {"messages": []}, {"max_tokens": 0}, {"logit_bias": {"a": 1}}, {"stop": 5}, {"n": 10**6},
       {"messages": [{"role": "nobody", "content": "x"}]}, {"messages": [{"role": "user", "content": "x" * 20000}]},
       {"no_such_field": True}, {"response_format": {"type": "none"}}]


def request(custom_id, body, url=CHAT):
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body}) + "\n"


def chat_body(i, **more):
    return {"model": "tiny", "messages": [{"role": "user", "content": f"Say {i}."}], "max_tokens": 8, "seed": i, **more}


def upload(client, lines):
    return client.files.create(file=("in.jsonl", "".join(lines).encode()), purpose="batch")


def opened(client, lines, endpoint=CHAT, **more):
    return strictly(Batch, client.batches.with_raw_response.create(
        input_file_id=upload(client, lines).id, endpoint=endpoint, completion_window="24h", **more))


def until(client, batch_id, condition):
    while not condition(batch := strictly(Batch, client.batches.with_raw_response.retrieve(batch_id))):
        time.sleep(0.02)
    return batch


def ended(client, batch_id, status="completed"):
    batch = until(client, batch_id, lambda batch: batch.status in OVER)
    assert batch.status == status, batch
    return batch


def results(client, file_id):
    """The lines of a result file by custom_id, each of which stands there once."""
    text = client.files.content(file_id).text if file_id else ""
    lines = [json.loads(line) for line in text.splitlines()]
    by_id = {line["custom_id"]: line for line in lines}
    assert len(by_id) == len({line["id"] for line in lines}) == len(lines), "a request stands there twice"
    return by_id


def answered(line, kind=ChatCompletion):
    assert line["error"] is None and line["response"]["status_code"] == 200, line
    return kind.model_validate_json(json.dumps(line["response"]["body"]), strict=True)


def expect_usage(batch, answers):
    def total(of):
        return sum(of(answer.usage) or 0 for answer in answers)
    usage = batch.usage
    assert usage.input_tokens == total(lambda one: one.prompt_tokens), usage
    assert usage.output_tokens == total(lambda one: one.completion_tokens), usage
    assert usage.total_tokens == total(lambda one: one.total_tokens), usage
    assert usage.input_tokens_details.cached_tokens == total(
        lambda one: one.prompt_tokens_details and one.prompt_tokens_details.cached_tokens), usage
    assert usage.output_tokens_details.reasoning_tokens == 0, usage


def one_batch(daemon):
    """A small batch from its upload to the end of its files, with whatever can be asked meanwhile."""
    client = daemon.client
    file = upload(client, [request(f"c{i}", chat_body(i)) for i in range(5)] + [request("bad", chat_body(0, **BAD[0]))])
    batch = strictly(Batch, client.batches.with_raw_response.create(
        input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"night": "12", "für": "München"},
        output_expires_after={"anchor": "created_at", "seconds": 7200}))
    assert batch.status == "validating" and batch.metadata == {"night": "12", "für": "München"}, batch
    assert (batch.input_file_id, batch.endpoint, batch.completion_window) == (file.id, CHAT, "24h"), batch
    assert batch.expires_at - batch.created_at == 24 * 3600, batch
    batch = ended(client, batch.id)
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (6, 5, 1) and batch.errors is None, batch
    assert batch.model == "tiny" and batch.output_expires_at == batch.expires_at + 7200, batch
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at, batch
    output = results(client, batch.output_file_id)
    assert output.keys() == {f"c{i}" for i in range(5)}
    answers = [answered(line) for line in output.values()]
    expect_usage(batch, answers)
    for file_id in [batch.output_file_id, batch.error_file_id]:
        result = strictly(FileObject, client.files.with_raw_response.retrieve(file_id))
        assert (result.purpose, result.status) == ("batch_output", "processed"), result
        assert result.expires_at == batch.output_expires_at, result
        with client.files.with_streaming_response.content(file_id) as response:
            whole = b"".join(response.iter_bytes())
            assert "x-incomplete" not in response.headers
        assert whole == client.files.content(file_id).content and len(whole) == result.bytes
        assert strictly(FileDeleted, client.files.with_raw_response.delete(file_id)).deleted
        refused(openai.NotFoundError, lambda: client.files.content(file_id))
    batch = strictly(Batch, client.batches.with_raw_response.retrieve(batch.id))
    assert batch.output_file_id is None and batch.error_file_id is None, batch

    endpoint = "/v1/completions"
    batch = opened(client, [request(f"t{i}", {"model": "tiny", "prompt": ["a", f"b{i}"], "max_tokens": 3}, endpoint)
                            for i in range(3)], endpoint)
    batch = ended(client, batch.id)
    answers = [answered(line, Completion) for line in results(client, batch.output_file_id).values()]
    assert len(answers) == 3 and all(len(answer.choices) == 2 for answer in answers), answers
    assert batch.error_file_id is None, batch
    expect_usage(batch, answers)


def responses(daemon):
    """Lines for /v1/responses, their usage by its own names, and a retry with another limit by its own name."""
    client = daemon.client
    endpoint = "/v1/responses"
    bodies = [{"model": "tiny", "input": f"Say {i}.", "max_output_tokens": 8, "seed": i} for i in range(5)]
    lines = [request(f"r{i}", body, endpoint) for i, body in enumerate(bodies)]
    batch = opened(client, lines + [request("bad", {**bodies[0], "stream": True}, endpoint)], endpoint)
    batch = ended(client, batch.id)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (5, 1), batch
    output = results(client, batch.output_file_id)
    answers = [answered(line, Response) for line in output.values()]
    usage = batch.usage
    for name in ["input_tokens", "output_tokens", "total_tokens"]:
        assert getattr(usage, name) == sum(getattr(answer.usage, name) for answer in answers) > 0, (name, usage)
    assert usage.input_tokens_details.cached_tokens == sum(
        answer.usage.input_tokens_details.cached_tokens for answer in answers), usage
    told = client.responses.create(model="tiny", input="Say 3.", max_output_tokens=8, extra_body={"seed": 3})
    assert answered(output["r3"], Response).output_text == told.output_text, (output["r3"], told)
    bad = results(client, batch.error_file_id)["bad"]["response"]
    assert (bad["status_code"], bad["body"]["error"]["param"]) == (400, "stream"), bad
    long = [request(f"long{i}", {**bodies[0], "max_output_tokens": 8000}, endpoint) for i in range(20)]
    batch = opened(client, long, endpoint)
    until(client, batch.id, lambda batch: batch.status == "in_progress")
    client.batches.cancel(batch.id)
    batch = ended(client, batch.id, "cancelled")
    n_left = 20 - batch.request_counts.completed
    again = ended(client, retry(client, batch.id, max_tokens=3).id)
    retried = results(client, again.output_file_id)
    assert len(retried) == n_left > 0, (batch, again)
    assert all(answered(line, Response).usage.output_tokens <= 3 for line in retried.values()), retried


def paging(daemon):
    client = daemon.client
    before = [batch.id for batch in client.batches.list()]
    new = [opened(client, [request("only", chat_body(0))]).id for _ in range(5)]
    for limit in [1, 2, 100]:
        listed = [batch.id for batch in strictly_listed(Batch, client.batches.with_raw_response.list(limit=limit))]
        assert listed == new[::-1] + before, (limit, listed)
    page = client.batches.list(limit=2)
    assert page.has_more and [batch.id for batch in page.get_next_page().data] == new[2:0:-1], page
    assert [batch.id for batch in client.batches.list(after=new[0])] == before
    refused(openai.BadRequestError, lambda: client.batches.list(after="batch_none"), param="after")
    for batch_id in new:
        ended(client, batch_id)


def what_is_refused(daemon):
    client = daemon.client
    file_id = upload(client, [request("only", chat_body(0))]).id
    good = dict(input_file_id=file_id, endpoint=CHAT, completion_window="24h")
    for field, value, kind in [
            ("input_file_id", "file-none", openai.NotFoundError),
            ("endpoint", "/v1/moderations", openai.BadRequestError),
            ("completion_window", "24 hours", openai.BadRequestError),
            ("completion_window", "721h", openai.BadRequestError),
            ("output_expires_after", {"anchor": "created_at", "seconds": 5}, openai.BadRequestError),
            ("output_expires_after", {"anchor": "then", "seconds": 3600}, openai.BadRequestError),
            ("metadata", {str(i): "x" for i in range(17)}, openai.BadRequestError),
            ("metadata", {"x" * 65: "x"}, openai.BadRequestError)]:
        refused(kind, lambda: client.batches.create(**{**good, field: value}), param=field)
    for call in [client.batches.retrieve, client.batches.cancel]:
        refused(openai.NotFoundError, lambda: call("batch_none"))
    assert [batch.id for batch in client.batches.list() if batch.input_file_id == file_id] == []

    good, other = request("a", chat_body(0)), request("b", chat_body(1))
    for lines, faults in [
            ([good, "{\n", other], [("invalid_json_line", 2, None)]),
            ([good, other, good], [("duplicate_custom_id", 3, "custom_id")]),
            ([good, request("b", {"model": "tiny", "prompt": "x"}, "/v1/completions")], [("url_mismatch", 2, "url")]),
            ([good, request("b", chat_body(1, model="other"))], [("model_mismatch", 2, "body.model")]),
            # Of daemons that share a database another may have the model: there it waits for one.
            *[([request("a", chat_body(0, model="other"))], [("model_not_found", None, "body.model")])
              for _ in range(daemon.door != "postgres")],
            (["\n"], [("empty_file", None, None)]),
            (["[]\n"] * 3, [("invalid_json_line", i, None) for i in (1, 2, 3)])]:
        batch = ended(client, opened(client, lines).id, "failed")
        assert batch.errors.object == "list", batch
        assert [(one.code, one.line, one.param) for one in batch.errors.data] == faults, batch.errors
        assert all(one.message for one in batch.errors.data), batch.errors
        assert batch.failed_at and batch.output_file_id is None and batch.error_file_id is None, batch


def a_cancelled_batch_and_its_retry(daemon):
    """What is done stays, and can be read before; what is not runs in another batch."""
    client = daemon.client.with_options(max_retries=0)  # it asks again after a 409
    short = [f"short{i}" for i in range(10)]
    long = [f"long{i}" for i in range(10)]
    lines = [request(name, chat_body(i)) for i, name in enumerate(short)]
    lines += [request(name, chat_body(i, max_tokens=8000, n=4)) for i, name in enumerate(long)]
    batch = opened(client, lines)
    batch = until(client, batch.id, lambda batch: batch.request_counts.completed >= len(short))
    assert batch.status == "in_progress", batch
    part = client.files.with_raw_response.content(batch.output_file_id)
    assert part.headers["x-incomplete"] == "true"
    assert part.content.count(b"\n") == int(part.headers["x-last-line"]) >= len(short)
    refused(openai.ConflictError, lambda: client.files.delete(batch.output_file_id))
    refused(openai.ConflictError, lambda: client.post(f"/mailbox/{batch.id}/take", body={"limit": 1},
                                                      cast_to=httpx.Response))
    refused(openai.ConflictError, lambda: retry(client, batch.id))
    assert strictly(Batch, client.batches.with_raw_response.cancel(batch.id)).status in ("cancelling", "cancelled")
    batch = ended(client, batch.id, "cancelled")
    assert batch.cancelling_at <= batch.cancelled_at, batch
    assert strictly(Batch, client.batches.with_raw_response.cancel(batch.id)).status == "cancelled"
    output, errors = (results(client, file_id) for file_id in (batch.output_file_id, batch.error_file_id))
    assert client.files.content(batch.output_file_id).content.startswith(part.content)
    assert output.keys() >= set(short) and not output.keys() & errors.keys()
    assert output.keys() | errors.keys() == {*short, *long}
    assert errors, "all were done before they were cancelled"
    assert all(line["error"]["code"] == "batch_cancelled" and line["response"] is None for line in errors.values())
    again = ended(client, retry(client, batch.id, max_tokens=3).id)
    assert again.retried_from == batch.id and again.input_file_id == batch.input_file_id, again
    retried = results(client, again.output_file_id)
    assert retried.keys() == errors.keys(), (retried.keys(), errors.keys())
    assert all(answered(line).usage.completion_tokens == 12 for line in retried.values())
    assert results(client, batch.output_file_id) == output, "the old files stay"


def retry(client, batch_id, **body):
    return client.post(f"/batches/{batch_id}/retry", body=body, cast_to=Batch)


def a_thousand_lines_and_three_kills(daemon):
    seed = random.randrange(10**6)
    print(f"    seed {seed}")
    is_bad = [i % BAD_EVERY == 0 for i in range(N_LINES)]
    bodies = [chat_body(i, max_tokens=100) for i in range(N_LINES)]
    for i in range(0, N_LINES, BAD_EVERY):
        bodies[i].update(BAD[i // BAD_EVERY % len(BAD)])
    batch = opened(daemon.client, [request(f"c{i}", body) for i, body in enumerate(bodies)])
    # In the middle of whatever is done then; the daemon is gone long before the last line is.
    for i, done in enumerate(sorted(random.Random(seed).sample(range(N_LINES // 2), 3))):
        batch = until(daemon.client, batch.id, lambda batch: batch.request_counts.completed >= done)
        if daemon.door == "postgres" and i > 0 and batch.status in OVER:
            break  # the other daemon was quick
        assert batch.status not in OVER, batch
        daemon.stop(signal.SIGKILL)
        daemon.start()
    client = daemon.client
    batch = ended(client, batch.id)
    counts = batch.request_counts
    n_bad = sum(is_bad)
    assert (counts.total, counts.completed, counts.failed) == (N_LINES, N_LINES - n_bad, n_bad), batch
    output, errors = (results(client, file_id) for file_id in (batch.output_file_id, batch.error_file_id))
    assert output.keys() == {f"c{i}" for i in range(N_LINES) if not is_bad[i]}
    assert errors.keys() == {f"c{i}" for i in range(N_LINES) if is_bad[i]}
    expect_usage(batch, [answered(line) for line in output.values()])
    # A line says what the same request is told at the door.
    for custom_id, line in errors.items():
        told = refused(openai.APIStatusError, lambda: client.chat.completions.create(
            model="tiny", messages=[], extra_body=bodies[int(custom_id[1:])]))
        assert line["error"] is None and line["response"]["status_code"] == told.status_code, (line, told)
        assert line["response"]["body"] == {"error": told.body}, (line, told.body)
    for i in [1, N_LINES - 1]:
        told = client.chat.completions.create(**bodies[i])
        assert answered(output[f"c{i}"]).choices == told.choices, (output[f"c{i}"], told)
    # What was refused is refused again, and nothing else runs.
    again = ended(client, retry(client, batch.id).id)
    assert (again.request_counts.total, again.request_counts.failed) == (n_bad, n_bad), again
    assert results(client, again.error_file_id).keys() == errors.keys()
    print(f"    {len(output)} answers, {len(errors)} errors, {batch.usage.total_tokens} tokens")


ALL = [one_batch, responses, paging, what_is_refused, a_cancelled_batch_and_its_retry, a_thousand_lines_and_three_kills]
