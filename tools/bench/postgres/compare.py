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

Columns: call p50 and p99 are of one call that hands out jobs (64 of them for parkd, pgmq and pgqueuer, one
for procrastinate), or of one enqueue; latency is from just before the enqueue to the job's start at a consumer; WAL, dead tuples
(rows updated or deleted) and CPU of the server's sessions are a job's, over the whole workload.
"""
import argparse
import asyncio
import contextlib
import glob
import itertools
import json
import logging
import os
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
    tables = "pgmq.q_q, pgmq.a_q, pgmq.q_r"
    finish = """SELECT (SELECT count(*) FROM pgmq.archive('q', $1::bigint[])),
                       (SELECT count(*) FROM pgmq.send_batch('r', $2::jsonb[]))"""

    async def setup(self, root):
        await super().setup(root)
        psql("-c", "SELECT pgmq.create('r')")

    async def finished(self, statement, jobs):
        await statement.fetch([j["msg_id"] for j in jobs], [RESULT] * len(jobs))


class Procrastinate:
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
    return f"{values[min(len(values) - 1, int(len(values) * q))] * 1000:.2f}" if values else "-"


HEAD = f"{'system':14} {'workload':38} {'clients':>7} {'jobs/s':>9} {'call p50':>9} {'p99 ms':>9} " \
       f"{'latency p50':>11} {'p99 ms':>9} {'WAL B/job':>9} {'dead/job':>8} {'CPU us/job':>10}"


def measure(system, workload, processes, clients, count_of="consumer"):
    """Starts all at once; jobs/s from the first start to the last end of those that count."""
    time.sleep(1.2)  # the server's own counters lag by up to a second
    before = counters()
    for _, process in processes:
        process.wait_ready()
    for _, process in processes:
        process.go()
    figures = [(role, process.figures()) for role, process in processes]
    time.sleep(1.2)
    after = counters()
    counted = [f for role, f in figures if role == count_of]
    n = sum(f["n"] for f in counted)
    seconds = max(f["end"] for f in counted) - min(f["start"] for _, f in figures)
    calls = [c for f in counted for c in f["calls"]]
    latencies = [x for f in counted for x in f.get("latencies", [])] if "latency" in workload else []
    print(f"{system:14} {workload:38} {clients:7d} {n / seconds:9.0f} {percentile_ms(calls, .5):>9} "
          f"{percentile_ms(calls, .99):>9} {percentile_ms(latencies, .5):>11} {percentile_ms(latencies, .99):>9} "
          f"{(after['wal'] - before['wal']) / n:9.0f} {(after['dead'] - before['dead']) / n:8.2f} "
          f"{(after['cpu'] - before['cpu']) / n * 1e6:10.0f}", flush=True)


def consumers(name, n, clients):
    return [("consumer", Process(name, "consumer", n // clients)) for _ in range(clients)]


def refill(system, n):
    """An empty queue, then n jobs in it; nothing left to clean, statistics fresh."""
    psql("-c", f"TRUNCATE {system.tables}")
    if n > 0:
        system.fill(n)
    psql("-c", "VACUUM ANALYZE")
    psql("-c", "CHECKPOINT")


def compare(name, root, jobs, backlog):
    jobs = jobs // SLOWER.get(name, 1)
    database = "compare_" + name.replace("+", "_")
    os.environ["PGDATABASE"] = "postgres"
    psql("-c", f"CREATE DATABASE {database}")
    os.environ["PGDATABASE"] = database
    system = SYSTEMS[name]()
    asyncio.run(system.setup(root))

    few = max(jobs // 8, 4)
    measure(name, "enqueue one by one", [("producer", Process(name, "producer", few // 4)) for _ in range(4)], 4,
            "producer")
    measure(name, f"enqueue {BULK} a call", [("producer", Process(name, "producer", jobs, BULK))], 1, "producer")
    if name == "parkd":
        measure(name, f"enqueue {BULK} a call, as a daemon", [("producer", Process("parkd-daemon", "producer", jobs, BULK))],
                1, "producer")
    for clients in (1, 4):
        # A little more is sent than asked for: a consumer that comes to the end would wait for more.
        refill(system, 0)
        n = jobs // 2
        measure(name, "end to end, 100 a call",
                [("producer", Process(name, "producer", n + 8 * BATCH * clients, 100))] + consumers(name, n, clients),
                clients)
    refill(system, 0)
    measure(name, "latency at 100 jobs/s, one by one",
            [("producer", Process(name, "producer", 800 + 2 * BATCH, 1, 100))] + consumers(name, 800, 1), 1)
    slack = 8 * BATCH  # a consumer that comes to the end would wait for more
    for clients in (1, 4):
        refill(system, jobs + slack * clients)
        measure(name, "claim + finish, none behind", consumers(name, jobs, clients), clients)
    refill(system, backlog + 3 * jobs + 16 * slack)
    for clients in (1, 4):
        measure(name, f"claim + finish, {backlog:,} behind", consumers(name, jobs, clients), clients)
        psql("-c", "VACUUM ANALYZE", "-c", "CHECKPOINT")
    # With a snapshot held open nothing dead can be cleaned away.
    holder = subprocess.Popen(["psql", "-qX"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    holder.stdin.write("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class;\n")
    holder.stdin.flush()
    time.sleep(0.5)
    measure(name, "the same, xmin pinned", consumers(name, jobs, 4), 4)
    holder.stdin.close()
    holder.wait()
    os.environ["PGDATABASE"] = "postgres"
    psql("-c", f"DROP DATABASE {database} WITH (FORCE)")


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
    args = parser.parse_args()
    if args.child:
        child(args)
    print(HEAD, flush=True)
    for name in args.systems.split(","):
        compare(name, args.root, args.jobs, args.backlog)


if __name__ == "__main__":
    main()
