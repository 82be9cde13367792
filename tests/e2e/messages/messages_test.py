#!/usr/bin/env python3
"""Sends every wrong input of inputs.py to a real daemon and compares what comes back with page.txt.

    messages_test.py PARKD JOBCTL MAKE_TINY_MODEL            # compares, and prints the page
    messages_test.py --update PARKD JOBCTL MAKE_TINY_MODEL   # writes it

A message names field, value, place and way out: the words that inputs.py asks for are looked for also when updating.
"""
import difflib
import http.client
import json
import pathlib
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE / "page.txt"


def as_bytes(part):
    if isinstance(part, bytes):
        return part
    text = part if isinstance(part, str) else json.dumps(part, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def shown(data):
    """Bytes on one line, with what is not printed escaped."""
    text = data.decode("utf-8", "backslashreplace").replace("\n", "\\n").replace("\t", "\\t").replace("\x00", "\\x00")
    return text if len(text) <= 160 else text[:157] + "..."


class Request:
    """HTTP on the daemon's socket."""

    def __init__(self, path, body=None):
        self.path = path
        self.body = as_bytes(body) if body is not None else None

    def given(self):
        return f"{self.METHOD} {self.path}" + (f" {shown(self.body)}" if self.body is not None else "")

    def said(self, world):
        connection = http.client.HTTPConnection("parkd", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(world.home / "parkd.sock"))
        connection.request(self.METHOD, self.path, self.body)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        error = json.loads(text).get("error", {})
        return f"{answer.status} {error.get('message')}" + (f" ({error['param']})" if error.get("param") else "")


class Post(Request):
    METHOD = "POST"


class Get(Request):
    METHOD = "GET"


class Jobctl:
    def __init__(self, *words, stdin=""):
        self.words = words
        self.stdin = stdin

    def given(self):
        return "jobctl " + shlex.join(self.words) + (f" <<< {shlex.quote(self.stdin)}" if self.stdin else "")

    def said(self, world):
        return world.jobctl(self.words, self.stdin)


class Batch:
    """Lines of a file in.jsonl for jobctl batch run: dicts are made JSON; what fails in OUT is shown, too."""

    def __init__(self, *lines, output="out.jsonl", options=()):
        self.text = b"".join(as_bytes(line) + b"\n" for line in lines) if lines != (b"",) else b""
        self.output = output
        self.options = list(options)

    def words(self):
        return ["batch", "run", "in.jsonl", "-o", self.output] + self.options

    def given(self):
        return "jobctl " + shlex.join(self.words()) + "; in.jsonl: " + shown(self.text)

    def said(self, world):
        (world.home / "in.jsonl").write_bytes(self.text)
        (world.home / "theirs.txt").write_text("theirs\n")
        said = world.jobctl(self.words(), "")
        out = world.home / "out.jsonl"
        for result in out.read_text().splitlines() if out.exists() else []:
            line = json.loads(result)
            error = line["error"] or (line["response"]["body"].get("error") if line["response"] else None)
            if error:
                said += f"\nOUT \"{line['custom_id']}\": {line['response']['status_code']} {error['message']}"
                said += f" ({error['param']})" if error.get("param") else ""
        for path in (out, world.home / "out.jsonl.parkd-run"):
            path.unlink(missing_ok=True)
        return said


class Config:
    """What parkd --check-config says of a file."""

    def __init__(self, text):
        self.text = text

    def given(self):
        return "parkd --check-config wrong.yaml: " + shown(self.text.encode())

    def said(self, world):
        (world.home / "wrong.yaml").write_text(self.text)
        ended = subprocess.run([world.parkd, "--check-config", "--config", "wrong.yaml"], cwd=world.home, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return f"exit {ended.returncode}: {ended.stdout.strip()}"


class World:
    def __init__(self, home, parkd, jobctl, make_tiny_model):
        self.home = home
        self.parkd = parkd
        self.jobctl_path = jobctl
        subprocess.run([make_tiny_model, home / "tiny.gguf", "--type", "q4_1"], check=True, stdout=subprocess.DEVNULL)
        (home / "parkd.yaml").write_text(
            f"daemon: {{state_dir: {home}/state, socket: {home}/parkd.sock, min_free_disk_mb: 1}}\n"
            f"models:\n  - {{name: tiny, local_path: {home}/tiny.gguf, params: {{kvcache_mem_cpu: 16}}}}\n")
        self.log = open(home / "parkd.log", "w")
        self.daemon = subprocess.Popen([parkd, "--config", home / "parkd.yaml"], stdout=self.log, stderr=self.log)

    def wait_until_ready(self):
        while '"state":"ready"' not in self.jobctl(["--json", "models"], ""):
            if self.daemon.poll() is not None:
                raise SystemExit("parkd ended: " + (self.home / "parkd.log").read_text())
            time.sleep(0.05)

    def jobctl(self, words, stdin):
        ended = subprocess.run([self.jobctl_path, *words], cwd=self.home, input=stdin, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               env={"PARKD_SOCKET": str(self.home / "parkd.sock"), "TZ": "UTC"})
        return f"exit {ended.returncode}: {ended.stdout.strip()}"

    def tidy(self, text):
        """Without what is another each time."""
        text = text.replace(str(self.home), "DIR")
        text = re.sub(r"batch_[0-9a-f]{32}", "BATCH", text)
        text = re.sub(r"it is \d{4}-[-0-9T:.]*Z", "it is NOW", text)
        text = re.sub(r"^\d+ results in .*$\n?", "", text, flags=re.M)  # the summary has times
        text = re.sub(r"^(exit \d+: )?run BATCH(: .*)?$\n?", r"\1", text, flags=re.M)
        return text.strip()


def main(arguments):
    is_update = arguments[:1] == ["--update"]
    from inputs import INPUTS
    page = [f"{len(INPUTS)} wrong inputs and what is said to them (tests/e2e/messages; messages_test.py --update)\n"]
    unnamed = []
    with tempfile.TemporaryDirectory(prefix="pm") as home:
        world = World(pathlib.Path(home), *map(str, arguments[is_update:]))
        try:
            world.wait_until_ready()
            for number, (title, door, names) in enumerate(INPUTS, 1):
                said = world.tidy(door.said(world))
                indented = said.replace("\n", "\n    ")
                page.append(f"{number}. {title}\n    {door.given()}\n    {indented}\n")
                unnamed += [f"{number}. {title}: {name!r} is not in: {said}" for name in names if name not in said]
        finally:
            world.daemon.terminate()
            world.daemon.wait()
    text = "\n".join(page)
    if is_update:
        PAGE.write_text(text)
    print(text)
    expected = PAGE.read_text() if PAGE.exists() else ""
    different = list(difflib.unified_diff(expected.splitlines(), text.splitlines(), "page.txt", "now", lineterm=""))
    print("\n".join(different + unnamed))
    return 1 if different or unnamed else 0


if __name__ == "__main__":
    sys.modules["messages_test"] = sys.modules["__main__"]
    sys.exit(main(sys.argv[1:]))
