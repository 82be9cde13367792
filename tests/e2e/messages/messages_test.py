#!/usr/bin/env python3
"""Sends every wrong input of inputs.py to a real daemon and compares what comes back with page.txt.

    messages_test.py PARKD JOBCTL MAKE_TINY_MODEL            # compares, and prints the page
    messages_test.py --update PARKD JOBCTL MAKE_TINY_MODEL   # writes it
    tools/pg_sandbox.sh messages_test.py [--update] --postgres PARKD JOBCTL MAKE_TINY_MODEL
                                                             # postgres_inputs.py and postgres_page.txt

A message names field, value, place and way out: the words that inputs.py asks for are looked for also when updating.
"""
import difflib
import http.client
import json
import os
import pathlib
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent


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
        connection.request(self.METHOD, self.path, world.filled(self.body))
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


class Dsn(Jobctl):
    """jobctl straight to the database, as a submitter."""

    def __init__(self, *words, stdin=""):
        super().__init__("--dsn", "DSN", *words, stdin=stdin)


class DsnBatch(Batch):
    def words(self):
        return ["--dsn", "DSN"] + super().words()


class Sql:
    """What psql says of a statement, as a submitter."""

    def __init__(self, statement):
        self.statement = statement

    def given(self):
        return "psql: " + shown(self.statement.encode())

    def said(self, world):
        ended = subprocess.run(["psql", "-qAtX", "-v", "SHOW_CONTEXT=never", "-U", "ada", "-c", world.filled(self.statement)],
                               text=True, env=dict(os.environ, PGTZ="UTC"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return f"exit {ended.returncode}: {ended.stdout.strip()}"


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
    def __init__(self, home, is_postgres, parkd, jobctl, make_tiny_model):
        self.home = home
        self.fill = {}
        queue = ""
        if is_postgres:
            queue = self.make_database(jobctl)
        self.parkd = parkd
        self.jobctl_path = jobctl
        subprocess.run([make_tiny_model, home / "tiny.gguf", "--type", "q4_1"], check=True, stdout=subprocess.DEVNULL)
        (home / "parkd.yaml").write_text(
            f"daemon: {{state_dir: {home}/state, socket: {home}/parkd.sock, min_free_disk_mb: 1}}\n"
            f"models:\n  - {{name: tiny, local_path: {home}/tiny.gguf, params: {{kvcache_mem_cpu: 16}}}}\n"
            + queue)
        self.log = open(home / "parkd.log", "w")
        self.daemon = subprocess.Popen([parkd, "--config", home / "parkd.yaml"], stdout=self.log, stderr=self.log)

    def make_database(self, jobctl):
        """Of the sandbox, with a submitter; returns what the configuration says of it."""
        host = os.environ["PGHOST"]
        dsn = f"host={host} dbname={os.environ['PGDATABASE']} user="
        subprocess.run([jobctl, "--dsn", dsn + os.environ["PGUSER"], "migrate", "up"], check=True, stdout=subprocess.DEVNULL)
        made = subprocess.run(
            ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", "CREATE ROLE ada LOGIN IN ROLE parkd_submitter",
             "-c", "CREATE ROLE dan LOGIN IN ROLE parkd_daemon"], text=True, check=True, stdout=subprocess.PIPE)
        assert made.stdout == ""
        self.fill["DSN"] = dsn + "ada"
        return (f"parking_lot:\n  queue:\n    backend: postgres\n"
                f"    postgres_url: postgresql:///{os.environ['PGDATABASE']}?host={host}&user=dan\n")

    def open_batches(self):
        """One a tenant: that of HTTP and that of SQL."""
        opened = json.loads(self.jobctl(["--json", "batch", "open"], "").removeprefix("exit 0: "))
        self.fill["HTTP_BATCH"] = opened["id"]
        self.fill["SQL_BATCH"] = subprocess.run(["psql", "-qAtX", "-U", "ada", "-c", "SELECT parkd.open_batch()"], text=True,
                                                check=True, stdout=subprocess.PIPE).stdout.strip()

    def filled(self, given):
        """With the names that are another each time in place of their placeholders."""
        for name, value in self.fill.items():
            given = given.replace(name, value) if isinstance(given, str) else given and given.replace(name.encode(), value.encode())
        return given

    def wait_until_ready(self):
        while '"state":"ready"' not in self.jobctl(["--json", "models"], ""):
            if self.daemon.poll() is not None:
                raise SystemExit("parkd ended: " + (self.home / "parkd.log").read_text())
            time.sleep(0.05)

    def jobctl(self, words, stdin):
        ended = subprocess.run([self.jobctl_path, *map(self.filled, words)], cwd=self.home, input=stdin, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               env={"PARKD_SOCKET": str(self.home / "parkd.sock"), "TZ": "UTC", "PGTZ": "UTC"})
        return f"exit {ended.returncode}: {ended.stdout.strip()}"

    def tidy(self, text):
        """Without what is another each time."""
        text = text.replace(str(self.home), "DIR")
        for name, value in self.fill.items():
            text = text.replace(value, name)
        text = re.sub(r"batch_[0-9a-f]{32}", "BATCH", text)
        text = re.sub(r"(the deadline of batch \w+), [^ ]+( [^ ]+)?: ", r"\1, TOMORROW: ", text)
        text = re.sub(r"it is \d{4}-[-0-9T:.]*Z", "it is NOW", text)
        text = re.sub(r"^(exit \d+: )?\d+ results in .*$\n?", r"\1", text, flags=re.M)  # the summary has times
        text = re.sub(r"^(exit \d+: )?run BATCH(: .*)?$\n?", r"\1", text, flags=re.M)
        return text.strip()


def main(arguments):
    options = [argument for argument in arguments if argument.startswith("--")]
    is_update = "--update" in options
    is_postgres = "--postgres" in options
    if is_postgres:
        from postgres_inputs import INPUTS
    else:
        from inputs import INPUTS
    golden = HERE / ("postgres_page.txt" if is_postgres else "page.txt")
    page = [f"{len(INPUTS)} wrong inputs and what is said to them (tests/e2e/messages; messages_test.py --update"
            + (" --postgres" if is_postgres else "") + ")\n"]
    unnamed = []
    with tempfile.TemporaryDirectory(prefix="pm") as home:
        world = World(pathlib.Path(home), is_postgres, *arguments[len(options):])
        try:
            world.wait_until_ready()
            if is_postgres:
                world.open_batches()
            for number, (title, door, names) in enumerate(INPUTS, 1):
                said = world.tidy(door.said(world))
                indented = said.replace("\n", "\n    ")
                page.append(f"{number}. {title}\n    {door.given()}\n    {indented}\n")
                unnamed += [f"{number}. {title}: {name!r} is not in: {said}" for name in names if name.lower() not in said.lower()]
        finally:
            world.daemon.terminate()
            world.daemon.wait()
    text = "\n".join(page)
    if is_update:
        golden.write_text(text)
    print(text)
    expected = golden.read_text() if golden.exists() else ""
    different = list(difflib.unified_diff(expected.splitlines(), text.splitlines(), golden.name, "now", lineterm=""))
    print("\n".join(different + unnamed))
    return 1 if different or unnamed else 0


if __name__ == "__main__":
    sys.modules["messages_test"] = sys.modules["__main__"]
    sys.exit(main(sys.argv[1:]))
