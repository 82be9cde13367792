"""Code as people have it against OpenAI's API: a chat, a stream and a batch of a file.

    openai_client.py REQUESTS.jsonl

OPENAI_BASE_URL and OPENAI_API_KEY make it parkd's; `tools/quickstart.sh --openai` sets them.
"""
import json
import sys
import time

import openai

MODEL = "smollm2-135m"


def headline(text):
    print(f"\n\033[1m{text}\033[0m", flush=True)


def question(text, **more):
    headline(text)
    return dict(model=MODEL, messages=[{"role": "user", "content": text}], temperature=0, **more)


def main():
    client = openai.OpenAI()
    answer = client.chat.completions.create(**question("Why is the sky blue?", max_tokens=64))
    print(answer.choices[0].message.content)

    for chunk in client.chat.completions.create(**question("Tell me a story.", max_tokens=96), stream=True):
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()

    with open(sys.argv[1], "rb") as requests:
        f = client.files.create(file=requests, purpose="batch")
    b = client.batches.create(input_file_id=f.id, endpoint="/v1/chat/completions", completion_window="24h")
    headline(f"{b.id}, of {f.filename}")
    while b.status in ("validating", "in_progress", "finalizing"):
        time.sleep(0.2)
        b = client.batches.retrieve(b.id)
    if b.status != "completed" or b.error_file_id:
        sys.exit(f"the batch did not complete: {b}")
    for line in map(json.loads, client.files.content(b.output_file_id).text.splitlines()):
        print(f"{line['custom_id']}: {line['response']['body']['choices'][0]['message']['content'].strip()!r}")
    print(f"{b.status}, {b.request_counts.completed} of {b.request_counts.total}, {b.usage.total_tokens} tokens")


if __name__ == "__main__":
    main()
