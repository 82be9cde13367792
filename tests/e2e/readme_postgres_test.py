#!/usr/bin/env python3
"""Runs what README.md says under "## PostgreSQL", word for word, on a throwaway server.

    tools/pg_sandbox.sh tests/e2e/readme_postgres_test.py PARKD JOBCTL MAKE_TINY_MODEL

README's placeholders (a host, an id, "...") are replaced; the model is the tests' tiny one under the
demo's name. A block that this file does not know is an error, so that none goes unread.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BODY = '{"messages":[{"role":"user","content":"Hello."}],"max_tokens":4}'

# Beside apt-get, whose packages are there, sudo is used to become the cluster's owner.
SUDO = """#!/bin/sh
[ "$1" = apt-get ] && exit 0
[ "$1 $2" = "-u postgres" ] || exit 9
shift 2
PGUSER=postgres exec "$@"
"""


def section():
    text = (ROOT / "README.md").read_text()
    return re.search(r"^## PostgreSQL\n(.*?)^## ", text, re.M | re.S)[1]


def blocks(text):
    """The indented ones, in order."""
    found = re.findall(r"(?:^    .*\n(?:\n(?=    ))?)+", text, re.M)
    return [re.sub(r"^    ", "", block, flags=re.M) for block in found]


def check(condition, what):
    if not condition:
        raise AssertionError(what)


class World:
    def __init__(self, home, parkd, jobctl, make_tiny_model):
        self.home = home
        bin = home / "bin"
        models = home / ".cache/parkd/models"
        bin.mkdir()
        models.mkdir(parents=True)
        subprocess.run([make_tiny_model, models / "SmolLM2-135M-Instruct.Q4_1.gguf", "--type", "q4_1"], check=True)
        (bin / "sudo").write_text(SUDO)
        (bin / "sudo").chmod(0o755)
        (bin / "parkd").symlink_to(parkd)
        (bin / "jobctl").symlink_to(jobctl)
        self.environment = dict(os.environ, HOME=str(home), PATH=f"{bin}:{os.environ['PATH']}",
                                PGOPTIONS="-c client_min_messages=warning")
        for name in ("PGUSER", "PGDATABASE"):  # as in a user's shell
            self.environment.pop(name)
        self.parkd_pid = None

    def shell(self, script, **more):
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=self.home, text=True,
                              env={**self.environment, **more}, stdout=subprocess.PIPE)
        check(done.returncode == 0, f"exit code {done.returncode} of:\n{script}")
        return done.stdout

    def sql(self, script, user):
        """What psql prints, unaligned, of a script that has to succeed."""
        done = subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-U", user, "parkd"],
                              cwd=self.home, text=True, env=self.environment, input=script,
                              stdout=subprocess.PIPE)
        check(done.returncode == 0, f"psql refused, as {user}:\n{script}")
        return done.stdout.strip()

    def wait_for(self, query, user, answer):
        while self.sql(query, user) != answer:  # ctest ends what hangs
            os.kill(self.parkd_pid, 0)
            time.sleep(0.1)


def install_and_ask(world, block):
    """Everything up to the first answer, in a user's shell."""
    lines = block.strip().splitlines()
    check(lines[6].endswith(" &") and "SELECT" in lines[8] and len(lines) == 9, block)
    lines[6] = lines[6][:-1] + ">parkd.log 2>&1 & echo $! >parkd.pid"
    world.shell("\n".join(lines))
    world.parkd_pid = int((world.home / "parkd.pid").read_text())
    while "order-17" not in (answer := world.shell(lines[8])):
        os.kill(world.parkd_pid, 0)
        time.sleep(0.1)
    check("completed" in answer, answer)
    world.sql("CREATE ROLE alice LOGIN IN ROLE parkd_submitter; CREATE ROLE anna LOGIN IN ROLE parkd_admin;"
              "CREATE TABLE reviews (id text, text text); INSERT INTO reviews VALUES ('r1', 'Good.'), ('r2', 'Bad.');"
              "GRANT SELECT ON reviews TO alice", "postgres")


def submit(world, block):
    quoted = BODY.replace('"', '""')
    (world.home / "jobs.csv").write_text("".join(f'smollm2-135m,"{quoted}",c{i},reviews\n' for i in range(3)))
    waiting = world.sql(
        f"INSERT INTO parkd.jobs (model, body, run_at) SELECT 'smollm2-135m', '{BODY}', now() + interval '1 day'"
        "  FROM generate_series(1, 3) RETURNING id", "alice").split()
    world.sql(f"SELECT parkd.cancel_jobs(ARRAY[{waiting[0]}, {waiting[1]}])", "alice")
    world.wait_for("SELECT count(*) FROM parkd.results WHERE outcome = 'cancelled'", "alice", "2")
    block = block.replace("cancel(42)", f"cancel({waiting[2]})")
    block = block.replace("{...}", BODY).replace("42", waiting[0]).replace("43", waiting[1])
    answer = world.sql(block, "alice")
    check("cancelling" in answer, answer)
    check(len(re.findall(rf"^(?:{waiting[0]}|{waiting[1]})\|", answer, re.M)) == 2, f"both requeued: {answer}")
    # Two reviews, three lines of the file, the submitted one, and two that were requeued.
    world.wait_for("SELECT count(*) FROM parkd.results WHERE outcome = 'completed'", "alice", "8")
    check(world.sql("SELECT string_agg(custom_id, ' ' ORDER BY custom_id) FROM parkd.results"
                    " WHERE mailbox_key = 'reviews'", "alice") == "c0 c1 c2 r1 r2", "each under its custom_id")


def be_woken(world, block):
    update, listen, payload = block.strip().splitlines()
    world.sql(update, "anna")
    payload = world.sql(payload, "alice")
    check(re.fullmatch("[0-9a-f]{32}", payload) is not None, payload)
    with subprocess.Popen(["psql", "-qAtX", "-U", "alice", "parkd"], text=True, env=world.environment,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as psql:
        def say(line):
            psql.stdin.write(line + "\n")
            psql.stdin.flush()
        say(listen)
        say(f"INSERT INTO parkd.jobs (model, body, mailbox_key) VALUES ('smollm2-135m', '{BODY}', 'reviews');")
        heard = ""
        while "Asynchronous notification" not in heard:  # psql looks after each statement
            os.kill(world.parkd_pid, 0)
            say("SELECT pg_sleep(0.1);")
            heard = psql.stdout.readline()
        psql.stdin.close()
        check('"parkd_results" with payload "' + payload + '"' in heard, heard)


def batch(world, block):
    opening, rest = block.strip().split("\n", 1)
    id = world.sql(opening, "alice")
    check(id.startswith("batch_"), id)
    rest = rest.replace("(..., ", f"('smollm2-135m', '{BODY}', 'member', ").replace("batch_1f...", id)
    world.sql(rest, "alice")
    world.wait_for(f"SELECT status, completed FROM parkd.batch_status WHERE id = '{id}'", "alice", "finished|1")


def jobctl_alone(world, block):
    prompts = (ROOT / "tools/quickstart/prompts.jsonl").read_text().splitlines()[:2]
    (world.home / "in.jsonl").write_text("\n".join(prompts) + "\n")
    world.shell(block.replace("host=db1", "host=$PGHOST"), PGUSER="alice")
    check(len((world.home / "out.jsonl").read_text().splitlines()) == 2, "an answer to each line")


def pooler(world, block):
    models = (world.home / "parkd.yaml").read_text().split("models:")[1]
    (world.home / "pooled.yaml").write_text(block + "models:" + models)
    world.shell("parkd --check-config --config pooled.yaml")


def inline(world, text):
    """What stands in the sentences: statements, and views to look at."""
    statements = re.findall(r"`((?:INSERT INTO|SET|UPDATE) [^`]*(?:=|VALUES)[^`]*)`", text)
    check(len(statements) == 3, statements)
    for statement in statements:
        world.sql(statement.replace("\n", " "), "postgres" if "fence" in statement else "anna")
    views = re.search(r"\*\*Looking\.\*\*(.*?)\n\n", text, re.S)[1]
    for view in re.findall(r"`(parkd\.\w+)`", views):
        world.sql(f"SELECT * FROM {view}", "anna")


def main():
    text = section()
    known = [install_and_ask, submit, be_woken, batch, jobctl_alone, pooler]
    found = blocks(text)
    check(len(found) == len(known), f"README has {len(found)} blocks here, this file knows {len(known)}")
    with tempfile.TemporaryDirectory() as home:
        world = World(pathlib.Path(home), *sys.argv[1:4])
        try:
            for run, block in zip(known, found):
                print(f"== {run.__name__}", flush=True)
                run(world, block)
            inline(world, text)
        except BaseException:
            log = pathlib.Path(home) / "parkd.log"
            print(log.read_text() if log.exists() else "parkd was not started")
            raise
        finally:
            if world.parkd_pid is not None:
                os.kill(world.parkd_pid, 15)
                while os.path.exists(f"/proc/{world.parkd_pid}"):
                    time.sleep(0.05)


if __name__ == "__main__":
    main()
