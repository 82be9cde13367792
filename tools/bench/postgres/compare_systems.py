"""The queues that compare.py compares: each in the way its documentation recommends for throughput.

  parkd          claim_v1 and finish_v1, 64 jobs a call, asyncpg, a session each, as a daemon has: the next jobs
                 are claimed while the last results are stored, after a claim of few a little later. Enqueued by
                 INSERT, as any client may; and in bulk also by submit_v1, as a daemon does for its clients. Each
                 job's result is stored
  pgmq           read and archive, 64 messages a call, asyncpg; there are no results
  pgmq+results   the same, and in archive's transaction the results are sent to a second queue
  procrastinate  its Worker, concurrency 20, a psycopg pool of up to 20 connections, batch_defer; no results
  pgqueuer       its QueueManager, batch_size 64, an asyncpg pool, list enqueue; no results

A system has: `database` and `tables`, which are its own; setup(root) and fill(n), in the comparison's process; open and
enqueue(bodies), in a producer's; consume(counts, ready), in a consumer's, until counts.is_full.
"""
import asyncio
import contextlib
import glob
import json
import logging
import os
import subprocess
import time

BATCH = 64
RESULT = json.dumps({"id": "x", "choices": [{"message": {
    "role": "assistant", "content": "one two three four five six seven eight nine ten"},
    "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}})


def body():
    return {"messages": [{"role": "user", "content": "x" * 110}], "max_tokens": 48, "sent": time.time()}


def psql(*args):
    return subprocess.run(["psql", "-qXAt", "-v", "ON_ERROR_STOP=1", *args], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True).stdout.strip()


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
