#!/usr/bin/env python3
"""Runs the examples of README's "From OpenAI's client" and "Batches of files", line for line.

    readme_examples.py PARKD MAKE_TINY_MODEL JOBCTL

README's addresses and the id of a job are replaced; the model is the tests' tiny one under the demo's name. Python
runs in one namespace from the first example to the last; what a shell is told has to succeed.
"""
import atexit
import os
import pathlib
import re
import signal
import subprocess
import sys

from batches import request
from daemon import Daemon

MODEL = "smollm2-135m"
SECTIONS = ["### From OpenAI's client", "### Batches of files"]
SHELL = ("curl ", "jobctl ")


def examples():
    """The indented lines of each block of a section, in order."""
    readme = (pathlib.Path(__file__).resolve().parents[2] / "README.md").read_text()
    for section in SECTIONS:
        text = re.search(rf"^{section}\n(.*?)^#", readme, re.M | re.S)[1]
        for block in re.findall(r"(?:^    .*\n)+", text, re.M):
            yield re.sub(r"^    ", "", block, flags=re.M)


class Reader:
    """Somebody who types what README says."""

    def __init__(self, daemon, jobctl):
        self.daemon = daemon
        home = daemon.home
        (home / "token").write_text(daemon.token + "\n")
        (home / "requests.jsonl").write_text("".join(
            request(f"c{i}", {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4,
                              "temperature": 99 if i == 0 else 0}) for i in range(5)))
        (home / "bin").mkdir()
        (home / "bin/jobctl").symlink_to(jobctl)
        os.chdir(home)
        self.names = {}
        self.job, self.last = self.a_stream_that_was_cut()
        self.environment = dict(os.environ, PATH=f"{home}/bin:{os.environ['PATH']}", LAST=self.last,
                                PARKD_SOCKET=str(home / "parkd.sock"))

    def a_stream_that_was_cut(self):
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 20}
        with self.daemon.http().stream("POST", "chat/completions", json=body,
                                       headers={"X-Parkd-On-Disconnect": "keep"}) as response:
            for line in response.iter_lines():
                if line.startswith("id: "):
                    return response.headers["x-parkd-job-id"], line[4:]

    def adapted(self, text):
        text = text.replace("/run/parkd/parkd.sock", str(self.daemon.home / "parkd.sock"))
        text = text.replace("127.0.0.1:8080", f"127.0.0.1:{self.daemon.port}")
        return text.replace("/v1/jobs/42/", f"/v1/jobs/{self.job}/")

    def shell(self, line):
        told = subprocess.run(["bash", "-euo", "pipefail", "-c", line.replace("curl ", "curl -sS --fail-with-body ")],
                              env=self.environment, text=True, stdout=subprocess.PIPE)
        assert told.returncode == 0 and told.stdout, f"{told.returncode} of: {line}\n{told.stdout}"
        if "Last-Event-ID" in line:
            assert "[DONE]" in told.stdout and self.last not in told.stdout, told.stdout

    def read(self, block):
        code = ""
        for line in self.adapted(block).splitlines():
            if line.startswith(SHELL):
                self.shell(line)
            else:
                code += line + "\n"
        exec(compile(code, "README.md", "exec"), self.names)


def main():
    parkd, make_tiny_model, jobctl = sys.argv[1:4]
    daemon = Daemon(parkd, make_tiny_model, "tcp", MODEL)
    daemon.start()
    atexit.register(lambda: daemon.process.poll() is None and daemon.stop(signal.SIGKILL))
    reader = Reader(daemon, jobctl)
    n_blocks = 0
    for block in examples():
        reader.read(block)
        n_blocks += 1
        print(f"ok  README: {block.splitlines()[0][:80]}")
    assert n_blocks == 5, f"README has {n_blocks} blocks in these sections, this test looks at the end of 5"
    assert reader.names["answer"].choices[0].message.content
    counts = reader.names["b"].request_counts
    assert (counts.total, counts.completed, counts.failed) == (5, 4, 1), reader.names["b"]
    daemon.stop(signal.SIGTERM)
    assert daemon.process.returncode == 0, daemon.process.returncode


if __name__ == "__main__":
    main()
