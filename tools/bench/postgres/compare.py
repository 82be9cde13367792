#!/usr/bin/env python3
"""The same no-op jobs through parkd's SQL and through other queues on the same PostgreSQL server.

Run by compare.sh, which brings the server, the packages and the versions. Every system is driven from
Python, one process a producer or consumer, so that the client's language is the same for all; each in the
way its documentation recommends for throughput:

  parkd          claim_v1 and finish_v1, 64 jobs a call, asyncpg, a session each, as a daemon has: the next jobs
                 are claimed while the last results are stored, after a claim of few a little later. Enqueued by
                 INSERT, as any client may; and in bulk also by submit_v1, as a daemon does for its clients. Each
                 job's result is stored
  pgmq           read and archive, 64 messages a call, asyncpg; there are no results
  pgmq+results   the same, and in archive's transaction the results are sent to a second queue
  procrastinate  its Worker, concurrency 20, a psycopg pool of up to 20 connections, batch_defer; no results
  pgqueuer       its QueueManager, batch_size 64, an asyncpg pool, list enqueue; no results

The systems take turns: each workload is done by all of them, round after round, in alternating order. A row
is the median of the rounds; the last column compares round by round what stood next to each other (jobs/s, and
for the latency its p50).

Columns: call p50 and p99 are of one call that hands out jobs (64 of them for parkd, pgmq and pgqueuer, one
for procrastinate), or of one enqueue; latency is from just before the enqueue to the job's start at a consumer; WAL, dead tuples
(rows updated or deleted) and CPU of the server's sessions are a job's, over the whole workload.
"""
import argparse
import asyncio
import contextlib
import dataclasses
import glob
import itertools
import json
import logging
import os
import statistics
import subprocess
import sys
import time

BATCH = 64
BULK = 1000
RESULT = json.dumps({"id": "x", "choices": [{"message": {
    "role": "assistant", "content": "one two three four five six seven eight nine ten"},
    "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}})


def body():
    return {"messages": [{"role": "user", "content": "x" * 110}], "max_tokens": 48, "sent": time.time()}


class Consumer:
    """What a consumer counts. done(sent) is called at each job's start."""

    def __init__(self, quota):
        self.quota = quota
        self.n_jobs = 0
        self.claims = []
        self.latencies = []

    def done(self, sent):
        self.n_jobs += 1
        self.latencies.append(time.time() - sent)

    @property
    def is_full(self):
        return self.n_jobs >= self.quota

    @contextlib.contextmanager
    def claiming(self):
        start = time.perf_counter()
        yield
        self.claims.append(time.perf_counter() - start)


async def connect():
    import asyncpg
    return await asyncpg.connect(host=os.environ["PGHOST"], user="postgres", database=os.environ["PGDATABASE"])


class Parkd:
    database = "compare_parkd"
    tables = "parkd.jobs, parkd.mailbox, parkd.history"

    async def setup(self, root):
        psql("-c", "CREATE SCHEMA parkd; CREATE TABLE parkd.schema_version (version int PRIMARY KEY)")
        for up in sorted(glob.glob(root + "/migrations/*.up.sql")):
            psql("-1", "-f", up)
        psql("-c", "SELECT parkd.register_model_v1('m', '', 8192)")

    def fill(self, n):
        psql("-c", f"""INSERT INTO parkd.jobs (model, tenant, priority, body, order_key,
                seed, retention, max_attempts, mailbox_key, endpoint)
            SELECT 'm', 'default', 'normal', '{json.dumps(body())}', clock_timestamp(),
                i, '7 days', 3, 'box', '/v1/chat/completions' FROM generate_series(1, {n}) i""")

    async def open(self):
        self.session = await connect()

    async def enqueue(self, bodies):
        texts = [json.dumps(b) for b in bodies]
        if len(texts) == 1:
            await self.session.execute("INSERT INTO parkd.jobs (model, body, mailbox_key) VALUES ('m', $1, 'box')", texts[0])
        else:
            await self.session.execute(
                "INSERT INTO parkd.jobs (model, body, mailbox_key) SELECT 'm', b, 'box' FROM unnest($1::json[]) b", texts)

    async def consume(self, counts, ready):
        claims, finishes = await connect(), await connect()
        daemon = await claims.fetchval("SELECT daemon_id FROM parkd.register_v1('h', $1, 'v', '1 day')", os.getpid())
        claim = await claims.prepare("SELECT id, run_lease, body FROM parkd.claim_v1($1, 'm', $2)")
        finish = await finishes.prepare(
            """SELECT count(*) FROM parkd.finish_v1($1, $2, array_fill('completed'::text, ARRAY[$3::int]),
               array_fill(''::text, ARRAY[$3]), array_fill(''::text, ARRAY[$3]), array_fill(''::text, ARRAY[$3]),
               array_fill(200, ARRAY[$3]), $4, array_fill(10, ARRAY[$3]), array_fill(10, ARRAY[$3]),
               array_fill(10::bigint, ARRAY[$3]), array_fill(10::bigint, ARRAY[$3]), array_fill(10::bigint, ARRAY[$3]))""")
        woken = asyncio.Event()
        await claims.add_listener("parkd_work", lambda *_: woken.set())
        await ready()
        stored = asyncio.get_running_loop().create_future()
        stored.set_result(None)
        while not counts.is_full:
            woken.clear()
            with counts.claiming():
                jobs = await claim.fetch(daemon, BATCH)
            if not jobs:
                counts.claims.pop()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(woken.wait(), 2)
                continue
            for job in jobs:
                counts.done(json.loads(job["body"])["sent"])
            await stored
            stored = asyncio.create_task(
                finish.fetch([j["id"] for j in jobs], [j["run_lease"] for j in jobs], len(jobs), [RESULT] * len(jobs)))
            if len(jobs) < BATCH:
                await asyncio.sleep(min(0.001 * len(jobs), 0.030))   # as a daemon: DispatcherOptions::claim_pause_per_job
        await stored


class ParkdDaemon(Parkd):
    """Jobs as a daemon enqueues them; what it read in the body comes along."""

    async def enqueue(self, bodies):
        n = len(bodies)
        await self.session.fetch(
            """SELECT job_id, refusal FROM parkd.submit_v1($1, array_fill('m'::text, ARRAY[$2::int]),
               array_fill('default'::text, ARRAY[$2]), array_fill('normal'::text, ARRAY[$2]), array_fill('box'::text, ARRAY[$2]),
               $3, $3, $3, $3, array_fill('/v1/chat/completions'::text, ARRAY[$2]), $4, array_fill(1::bigint, ARRAY[$2]),
               $5, $5, $5, $5, array_fill(3, ARRAY[$2]), array_fill(1, ARRAY[$2]), array_fill(40, ARRAY[$2]),
               array_fill(48, ARRAY[$2]), array_fill(false, ARRAY[$2]), false, false, 604800000000, 50000)""",
            list(range(n)), n, [""] * n, [json.dumps(b) for b in bodies], [None] * n)


class Pgmq:
    database = "compare_pgmq"
    tables = "pgmq.q_q, pgmq.a_q"
    finish = "SELECT count(*) FROM pgmq.archive('q', $1::bigint[])"

    async def finished(self, statement, jobs):
        await statement.fetch([j["msg_id"] for j in jobs])

    async def setup(self, root):
        psql("-f", os.environ["PGMQ_SQL"])
        psql("-c", "SELECT pgmq.create('q')")

    def fill(self, n):
        psql("-c", f"""SELECT count(*) FROM pgmq.send_batch('q', ARRAY(SELECT '{json.dumps(body())}'::jsonb
            FROM generate_series(1, {n})))""")

    async def open(self):
        self.session = await connect()

    async def enqueue(self, bodies):
        texts = [json.dumps(b) for b in bodies]
        if len(texts) == 1:
            await self.session.execute("SELECT pgmq.send('q', $1::jsonb)", texts[0])
        else:
            await self.session.execute("SELECT pgmq.send_batch('q', $1::jsonb[])", texts)

    async def consume(self, counts, ready):
        session = await connect()
        read = await session.prepare("SELECT msg_id, message FROM pgmq.read('q', 600, $1)")
        wait = await session.prepare("SELECT msg_id, message FROM pgmq.read_with_poll('q', 600, $1, 2, 20)")
        finish = await session.prepare(self.finish)
        await ready()
        while not counts.is_full:
            with counts.claiming():
                jobs = await read.fetch(BATCH)
            if not jobs:
                counts.claims.pop()
                jobs = await wait.fetch(BATCH)
            for job in jobs:
                counts.done(json.loads(job["message"])["sent"])
            if jobs:
                await self.finished(finish, jobs)


class PgmqResults(Pgmq):
    database = "compare_pgmq_results"
    tables = "pgmq.q_q, pgmq.a_q, pgmq.q_r"
    finish = """SELECT (SELECT count(*) FROM pgmq.archive('q', $1::bigint[])),
                       (SELECT count(*) FROM pgmq.send_batch('r', $2::jsonb[]))"""

    async def setup(self, root):
        await super().setup(root)
        psql("-c", "SELECT pgmq.create('r')")

    async def finished(self, statement, jobs):
        await statement.fetch([j["msg_id"] for j in jobs], [RESULT] * len(jobs))


class Procrastinate:
    database = "compare_procrastinate"
    tables = "procrastinate_jobs, procrastinate_events, procrastinate_periodic_defers"

    def app(self):
        import procrastinate
        logging.disable(logging.WARNING)  # it warns of an App in a main module, and of each early stop
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(
            conninfo=f"host={os.environ['PGHOST']} user=postgres dbname={os.environ['PGDATABASE']}", min_size=4,
            max_size=20))
        app.task(name="noop", pass_context=False)(self.noop)
        return app

    async def noop(self, request):
        self.counts.done(request["sent"])
        if self.counts.is_full:
            self.worker.stop()

    async def setup(self, root):
        app = self.app()
        async with app.open_async():
            await app.schema_manager.apply_schema_async()

    def fill(self, n):
        psql("-c", f"""INSERT INTO procrastinate_jobs (queue_name, task_name, args)
            SELECT 'default', 'noop', '{json.dumps({"request": body()})}' FROM generate_series(1, {n})""")

    async def open(self):
        self.producer = self.app()
        await self.producer.open_async()

    async def enqueue(self, bodies):
        task = self.producer.tasks["noop"]
        if len(bodies) == 1:
            await task.defer_async(request=bodies[0])
        else:
            await task.batch_defer_async(*[{"request": b} for b in bodies])

    async def consume(self, counts, ready):
        from procrastinate.worker import Worker
        self.counts = counts
        app = self.app()
        async with app.open_async():
            fetch = app.job_manager.fetch_job

            async def timed_fetch(*args, **kwargs):
                start = time.perf_counter()
                job = await fetch(*args, **kwargs)
                if job is not None:
                    counts.claims.append(time.perf_counter() - start)
                return job
            app.job_manager.fetch_job = timed_fetch
            self.worker = Worker(app=app, concurrency=20, install_signal_handlers=False)
            await ready()
            await self.worker.run()


class Pgqueuer:
    database = "compare_pgqueuer"
    tables = "pgqueuer, pgqueuer_log"

    async def pool(self):
        import asyncpg
        from pgqueuer.db import AsyncpgPoolDriver
        pool = await asyncpg.create_pool(host=os.environ["PGHOST"], user="postgres", database=os.environ["PGDATABASE"],
                                         min_size=4, max_size=20)
        return AsyncpgPoolDriver(pool)

    async def setup(self, root):
        from pgqueuer.queries import Queries
        await Queries(await self.pool()).install()

    def fill(self, n):
        async def send():
            await self.open()
            for first in range(0, n, 5000):
                await self.enqueue([body()] * min(5000, n - first))
        asyncio.run(send())

    async def open(self):
        from pgqueuer.queries import Queries
        self.queries = Queries(await self.pool())

    async def enqueue(self, bodies):
        payloads = [json.dumps(b).encode() for b in bodies]
        if len(payloads) == 1:
            await self.queries.enqueue("noop", payloads[0])
        else:
            await self.queries.enqueue(["noop"] * len(payloads), payloads, [0] * len(payloads))

    async def consume(self, counts, ready):
        from pgqueuer import PgQueuer
        queuer = PgQueuer(await self.pool())

        @queuer.entrypoint("noop")
        async def noop(job):
            counts.done(json.loads(job.payload)["sent"])
            if counts.is_full:
                queuer.shutdown.set()
        dequeue = queuer.queries.dequeue

        async def timed_dequeue(*args, **kwargs):
            start = time.perf_counter()
            jobs = await dequeue(*args, **kwargs)
            if jobs:
                counts.claims.append(time.perf_counter() - start)
            return jobs
        queuer.qm.queries.dequeue = timed_dequeue
        await ready()
        await queuer.run(batch_size=BATCH)


# Jobs of a workload are divided by this, so that each takes about as long.
SLOWER = {"procrastinate": 10, "pgqueuer": 2}
SYSTEMS = {"parkd": Parkd, "parkd-daemon": ParkdDaemon, "pgmq": Pgmq, "pgmq+results": PgmqResults,
           "procrastinate": Procrastinate, "pgqueuer": Pgqueuer}


# --- one process of a workload: "ready" and "go" in between, then its figures in a file

async def say_ready():
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def run_producer(system, n, per_call, rate):
    await system.open()
    await say_ready()
    start = time.time()
    calls = []
    for first in range(0, n, per_call):
        if rate:
            await asyncio.sleep(max(0, start + first / rate - time.time()))
        bodies = [body() for _ in range(min(per_call, n - first))]
        call = time.perf_counter()
        await system.enqueue(bodies)
        calls.append(time.perf_counter() - call)
    return {"start": start, "end": time.time(), "n": n, "calls": calls}


async def run_consumer(system, quota):
    counts = Consumer(quota)
    start = []

    async def ready():
        await say_ready()
        start.append(time.time())
    await system.consume(counts, ready)
    return {"start": start[0], "end": time.time(), "n": counts.n_jobs, "calls": counts.claims,
            "latencies": counts.latencies}


def child(args):
    with contextlib.suppress(ImportError):
        import uvloop
        uvloop.install()
    system = SYSTEMS[args.system]()
    if args.role == "producer":
        figures = asyncio.run(run_producer(system, args.n, args.per_call, args.rate))
    else:
        figures = asyncio.run(run_consumer(system, args.n))
    with open(args.figures, "w") as file:
        json.dump(figures, file)
    os._exit(0)  # pools of the peers may linger


serial = itertools.count()


class Process:
    def __init__(self, system, role, n, per_call=1, rate=0):
        self.path = f"{os.environ['COMPARE_LOG']}.{next(serial)}"
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--child", "--system", system, "--role", role, "--n", str(n),
             "--per-call", str(per_call), "--rate", str(rate), "--figures", self.path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(os.environ["COMPARE_LOG"], "ab"), text=True)

    def wait_ready(self):
        while True:
            line = self.process.stdout.readline()
            if line == "ready\n":
                return
            if not line:
                raise SystemExit("a process of the comparison ended early: see " + os.environ["COMPARE_LOG"])

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def figures(self):
        if self.process.wait() != 0 or not os.path.exists(self.path):
            raise SystemExit("a process of the comparison ended early: see " + os.environ["COMPARE_LOG"])
        with open(self.path) as file:
            return json.load(file)


# --- measuring

def psql(*args):
    return subprocess.run(["psql", "-qXAt", "-v", "ON_ERROR_STOP=1", *args], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True).stdout.strip()


def server_cpu_s():
    """Of the sessions that have ended: what a busy machine cannot blur."""
    pid = open(os.environ["PG_SANDBOX_DATA"] + "/postmaster.pid").readline().strip()
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def counters():
    wal, changed = psql("-c", """SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'), (SELECT coalesce(
        sum(n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables)""").split("|")
    return {"wal": float(wal), "dead": float(changed), "cpu": server_cpu_s()}


def percentile_ms(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * q))] * 1000 if values else None


@dataclasses.dataclass
class Workload:
    name: str
    clients: int
    processes: object               # of (system, jobs): the processes that do it
    counts: str = "consumer"        # whose jobs and calls are counted
    filled: object = None           # of (jobs): how many jobs the queue holds before it; None: whatever is left in it
    filled_once: bool = False       # before the first round only
    xmin_pinned: bool = False       # a snapshot is held open: nothing dead can be cleaned away
    has_latency: bool = False       # it is what the systems are compared by
    only: tuple = ()                # systems; none: all


def producers(system, n, clients=1, per_call=1, rate=0):
    return [("producer", Process(system, "producer", n // clients, per_call, rate)) for _ in range(clients)]


def consumers(system, n, clients):
    return [("consumer", Process(system, "consumer", n // clients)) for _ in range(clients)]


def workloads(backlog, rounds):
    slack = 8 * BATCH  # a consumer that comes to the end would wait for more
    nothing = lambda jobs: 0
    yield Workload("enqueue one by one", 4, lambda s, jobs: producers(s, max(jobs // 8, 4), 4), "producer", nothing)
    yield Workload(f"enqueue {BULK} a call", 1, lambda s, jobs: producers(s, jobs, 1, BULK), "producer", nothing)
    yield Workload(f"enqueue {BULK} a call, as a daemon", 1, lambda s, jobs: producers(s, jobs, 1, BULK), "producer", nothing,
                   only=("parkd-daemon",))
    for clients in (1, 4):
        yield Workload("end to end, 100 a call", clients,
                       lambda s, jobs, c=clients: producers(s, jobs // 2 + slack * c, 1, 100) + consumers(s, jobs // 2, c),
                       filled=nothing)
    yield Workload("latency at 100 jobs/s, one by one", 1,
                   lambda s, jobs: producers(s, 800 + 2 * BATCH, 1, 1, 100) + consumers(s, 800, 1),
                   filled=nothing, has_latency=True)
    for clients in (1, 4):
        yield Workload("claim + finish, none behind", clients, lambda s, jobs, c=clients: consumers(s, jobs, c),
                       filled=lambda jobs, c=clients: jobs + slack * c)
    for clients in (1, 4):
        yield Workload(f"claim + finish, {backlog:,} behind", clients, lambda s, jobs, c=clients: consumers(s, jobs, c),
                       filled=(lambda jobs: backlog + rounds * (3 * jobs + 16 * slack)) if clients == 1 else None,
                       filled_once=True)
    yield Workload("the same, xmin pinned", 4, lambda s, jobs: consumers(s, jobs, 4), xmin_pinned=True)


@contextlib.contextmanager
def pinned_xmin():
    holder = subprocess.Popen(["psql", "-qX"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    holder.stdin.write("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class;\n")
    holder.stdin.flush()
    time.sleep(0.5)
    yield
    holder.stdin.close()
    holder.wait()


def measure(workload, system, jobs):
    """Starts all processes at once; jobs/s from the first start to the last end of those that count."""
    processes = workload.processes(system, jobs)
    time.sleep(1.2)  # the server's own counters lag by up to a second
    before = counters()
    for _, process in processes:
        process.wait_ready()
    for _, process in processes:
        process.go()
    figures = [(role, process.figures()) for role, process in processes]
    time.sleep(1.2)
    after = counters()
    counted = [f for role, f in figures if role == workload.counts]
    n = sum(f["n"] for f in counted)
    seconds = max(f["end"] for f in counted) - min(f["start"] for _, f in figures)
    calls = [c for f in counted for c in f["calls"]]
    latencies = [x for f in counted for x in f.get("latencies", [])] if workload.has_latency else []
    return {"jobs/s": n / seconds, "call p50": percentile_ms(calls, .5), "p99 ms": percentile_ms(calls, .99),
            "latency p50": percentile_ms(latencies, .5), "p99 ms ": percentile_ms(latencies, .99),
            "WAL B/job": (after["wal"] - before["wal"]) / n, "dead/job": (after["dead"] - before["dead"]) / n,
            "CPU us/job": (after["cpu"] - before["cpu"]) / n * 1e6}


# Figure -> width and decimals, in the order of the table.
FIGURES = {"jobs/s": (9, 0), "call p50": (9, 2), "p99 ms": (9, 2), "latency p50": (11, 2), "p99 ms ": (9, 2),
           "WAL B/job": (9, 0), "dead/job": (8, 2), "CPU us/job": (10, 0)}


def as_fast(workload, ours, theirs):
    """How many times as fast as they we were in one round."""
    if workload.has_latency:
        return theirs["latency p50"] / ours["latency p50"]
    return ours["jobs/s"] / theirs["jobs/s"]


def print_row(system, workload, rounds, ours):
    cells = []
    for figure, (width, decimals) in FIGURES.items():
        values = [r[figure] for r in rounds]
        cells.append(f"{statistics.median(values):{width}.{decimals}f}" if None not in values else f"{'-':>{width}}")
    if ours is not None and ours is not rounds:
        ratios = [as_fast(workload, o, t) for o, t in zip(ours, rounds)]
        cells.append(f"  {statistics.median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"{system:14} {workload.name:38} {workload.clients:7d} {' '.join(cells)}", flush=True)


def settle():
    psql("-c", "VACUUM ANALYZE", "-c", "CHECKPOINT")


def compare(names, root, jobs, backlog, n_rounds):
    """The systems take turns, each in its own database, so that what the machine does meanwhile meets all alike."""
    for name in names:
        os.environ["PGDATABASE"] = "postgres"
        psql("-c", f"CREATE DATABASE {SYSTEMS[name].database}")
        os.environ["PGDATABASE"] = SYSTEMS[name].database
        asyncio.run(SYSTEMS[name]().setup(root))
    for workload in workloads(backlog, n_rounds):
        runners = workload.only or names
        rounds = {name: [] for name in runners}
        for number in range(n_rounds):
            for name in runners if number % 2 == 0 else reversed(runners):
                os.environ["PGDATABASE"] = SYSTEMS[name].database
                its_jobs = jobs // SLOWER.get(name, 1)
                if workload.filled is not None and not (workload.filled_once and number > 0):
                    psql("-c", f"TRUNCATE {SYSTEMS[name].tables}")
                    fill = workload.filled(its_jobs)
                    if fill > 0:
                        SYSTEMS[name]().fill(fill)
                settle()
                with pinned_xmin() if workload.xmin_pinned else contextlib.nullcontext():
                    rounds[name].append(measure(workload, name, its_jobs))
                settle()
        for name in runners:
            print_row(name, workload, rounds[name], rounds.get(names[0]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", action="store_true")
    parser.add_argument("--system")
    parser.add_argument("--role")
    parser.add_argument("--n", type=int)
    parser.add_argument("--per-call", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--figures")
    parser.add_argument("--systems", default="parkd")
    parser.add_argument("--root")
    parser.add_argument("--jobs", type=int, default=64000)
    parser.add_argument("--backlog", type=int, default=1000000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if args.child:
        child(args)
    figures = " ".join(f"{figure.strip():>{width}}" for figure, (width, _) in FIGURES.items())
    print(f"{'system':14} {'workload':38} {'clients':>7} {figures}   parkd is times as fast, median (least to most)", flush=True)
    compare(args.systems.split(","), args.root, args.jobs, args.backlog, args.rounds)


if __name__ == "__main__":
    main()
