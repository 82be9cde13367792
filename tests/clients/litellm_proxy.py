#!/usr/bin/env python3
"""LiteLLM's proxy in front of parkd: chat, streams, files and batches pass through unchanged.
    litellm_proxy.py PARKD MAKE_TINY_MODEL LITELLM"""
import atexit
import json
import secrets
import socket
import subprocess
import sys
import time

import httpx
import openai

from daemon import MESSAGES, Daemon

parkd, make_tiny_model, litellm = sys.argv[1:4]
daemon = Daemon(parkd, make_tiny_model, "tcp")
daemon.start()
key = "sk-" + secrets.token_hex(16)
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
behind = {"api_base": f"http://127.0.0.1:{daemon.port}/v1", "api_key": daemon.token}
config = daemon.home / "litellm.yaml"  # JSON is YAML, too
config.write_text(json.dumps({
    "general_settings": {"master_key": key},
    "model_list": [{"model_name": daemon.model, "litellm_params": {"model": f"openai/{daemon.model}", **behind}}],
    "files_settings": [{"custom_llm_provider": "openai", **behind}]}))
log = open(daemon.home / "litellm.log", "w")
proxy = subprocess.Popen([litellm, "--config", config, "--host", "127.0.0.1", "--port", str(port)],
                         stdout=log, stderr=subprocess.STDOUT)
atexit.register(proxy.kill)  # where something fails


def answers():
    if proxy.poll() is not None:
        sys.exit(f"litellm ended:\n{(daemon.home / 'litellm.log').read_text()[-3000:]}")
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/liveliness", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


while not answers():
    time.sleep(0.5)
client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0, timeout=300)
direct = daemon.client

# --- chat: the same text of the same seed, in one piece and in many
ask = {"model": daemon.model, "messages": MESSAGES, "max_tokens": 8, "seed": 7}
whole = client.chat.completions.create(**ask).choices[0].message.content
assert whole == direct.chat.completions.create(**ask).choices[0].message.content, whole
pieces = [chunk for chunk in client.chat.completions.create(stream=True, **ask) if chunk.choices]
assert "".join(chunk.choices[0].delta.content or "" for chunk in pieces) == whole, pieces
try:
    client.chat.completions.create(model=daemon.model, messages=[{"role": "user", "content": "word " * 20_000}])
    raise AssertionError("a request beyond the context was answered")
except openai.BadRequestError as error:
    assert "context" in str(error), error

# --- a file and a batch of it, looked at by both doors
through = {"extra_query": {"provider": "openai"}}
lines = [{"custom_id": f"c{i}", "method": "POST", "url": "/v1/chat/completions", "body": {**ask, "seed": i}}
         for i in range(20)]
data = "".join(json.dumps(line) + "\n" for line in lines).encode()
provider = {"extra_body": {"custom_llm_provider": "openai"}}
file = client.files.create(file=("in.jsonl", data), purpose="batch", **provider)
assert direct.files.content(file.id).read() == data
batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **provider)
while batch.status not in ("completed", "failed", "expired", "cancelled"):
    time.sleep(0.2)
    batch = client.batches.retrieve(batch.id, **through)
assert batch.status == "completed" and batch.request_counts.completed == len(lines), batch
output = client.files.content(batch.output_file_id, **through).read()
assert output == direct.files.content(batch.output_file_id).read()
assert sorted(json.loads(line)["custom_id"] for line in output.splitlines()) == sorted(line["custom_id"] for line in lines)

proxy.terminate()
proxy.wait()
daemon.stop(15)
print(f"litellm: chat, a stream of {len(pieces)} pieces, a file and a batch of {len(lines)} lines passed through")
