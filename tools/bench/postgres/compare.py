#!/usr/bin/env python3
"""The same no-op jobs through parkd's SQL and through other queues on the same PostgreSQL server.

Run by compare.sh, which brings the server, the packages and the versions. The queues, and how each is driven, are in
compare_systems.py: all from Python, one process a producer or consumer, so that the client's language is the same.

The systems take turns: each workload is done by all of them, round after round, in alternating order. A row
is the median of the rounds; the last column compares round by round what stood next to each other (jobs/s, and
for the latency its p50).

Columns: call p50 and p99 are of one call that hands out jobs (64 of them for parkd, pgmq and pgqueuer, one
for procrastinate), or of one enqueue; latency is from just before the enqueue to the job's start at a consumer; WAL,
dead tuples (rows updated or deleted) and CPU of the server's sessions are a job's, over the whole workload.
"""
import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import statistics
import subprocess
import sys
import time

from compare_systems import BATCH, SLOWER, SYSTEMS, Consumer, body, psql

BULK = 1000
SLACK = 8 * BATCH       # more jobs than asked for: a consumer that comes to the end would wait for more


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


# --- the workloads

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


def none(jobs):
    return 0


def workloads(backlog, rounds):
    yield Workload("enqueue one by one", 4, lambda s, jobs: producers(s, max(jobs // 8, 4), 4), "producer", none)
    yield Workload(f"enqueue {BULK} a call", 1, lambda s, jobs: producers(s, jobs, 1, BULK), "producer", none)
    yield Workload(f"enqueue {BULK} a call, as a daemon", 1, lambda s, jobs: producers(s, jobs, 1, BULK), "producer", none,
                   only=("parkd-daemon",))
    for clients in (1, 4):
        yield Workload("end to end, 100 a call", clients,
                       lambda s, jobs, c=clients: producers(s, jobs // 2 + SLACK * c, 1, 100) + consumers(s, jobs // 2, c),
                       filled=none)
    yield Workload("latency at 100 jobs/s, one by one", 1,
                   lambda s, jobs: producers(s, 800 + 2 * BATCH, 1, 1, 100) + consumers(s, 800, 1), filled=none,
                   has_latency=True)
    for clients in (1, 4):
        yield Workload("claim + finish, none behind", clients, lambda s, jobs, c=clients: consumers(s, jobs, c),
                       filled=lambda jobs, c=clients: jobs + SLACK * c)
    # One backlog for all that follow.
    yield Workload(f"claim + finish, {backlog:,} behind", 1, lambda s, jobs: consumers(s, jobs, 1),
                   filled=lambda jobs: backlog + rounds * (3 * jobs + 16 * SLACK), filled_once=True)
    yield Workload(f"claim + finish, {backlog:,} behind", 4, lambda s, jobs: consumers(s, jobs, 4))
    yield Workload("the same, xmin pinned", 4, lambda s, jobs: consumers(s, jobs, 4), xmin_pinned=True)


# --- measuring

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
    return {"rate": n / seconds, "call_p50": percentile_ms(calls, .5), "call_p99": percentile_ms(calls, .99),
            "latency_p50": percentile_ms(latencies, .5), "latency_p99": percentile_ms(latencies, .99),
            "wal": (after["wal"] - before["wal"]) / n, "dead": (after["dead"] - before["dead"]) / n,
            "cpu": (after["cpu"] - before["cpu"]) / n * 1e6}


# Figure -> heading, width, decimals; in the order of the table.
FIGURES = {"rate": ("jobs/s", 9, 0), "call_p50": ("call p50", 9, 2), "call_p99": ("p99 ms", 9, 2),
           "latency_p50": ("latency p50", 11, 2), "latency_p99": ("p99 ms", 9, 2),
           "wal": ("WAL B/job", 9, 0), "dead": ("dead/job", 8, 2), "cpu": ("CPU us/job", 10, 0)}


def print_head():
    cells = " ".join(f"{heading:>{width}}" for heading, width, _ in FIGURES.values())
    print(f"{'system':14} {'workload':38} {'clients':>7} {cells}   parkd is times as fast, median (least to most)", flush=True)


def as_fast(workload, ours, theirs):
    """How many times as fast as they we were in one round."""
    if workload.has_latency:
        return theirs["latency_p50"] / ours["latency_p50"]
    return ours["rate"] / theirs["rate"]


def print_row(system, workload, rounds, ours):
    cells = []
    for figure, (_, width, decimals) in FIGURES.items():
        values = [r[figure] for r in rounds]
        cells.append(f"{statistics.median(values):{width}.{decimals}f}" if None not in values else f"{'-':>{width}}")
    if ours is not None and ours is not rounds:
        ratios = [as_fast(workload, o, t) for o, t in zip(ours, rounds)]
        cells.append(f"  {statistics.median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"{system:14} {workload.name:38} {workload.clients:7d} {' '.join(cells)}", flush=True)


def settle():
    """Nothing left to clean, which autovacuum would do while the next system is measured; statistics fresh."""
    psql("-c", "VACUUM ANALYZE", "-c", "CHECKPOINT")


def refill(system, n):
    psql("-c", f"TRUNCATE {system.tables}")
    if n > 0:
        system().fill(n)
    settle()


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
                system, its_jobs = SYSTEMS[name], jobs // SLOWER.get(name, 1)
                os.environ["PGDATABASE"] = system.database
                if workload.filled is not None and (number == 0 or not workload.filled_once):
                    refill(system, workload.filled(its_jobs))
                with pinned_xmin() if workload.xmin_pinned else contextlib.nullcontext():
                    rounds[name].append(measure(workload, name, its_jobs))
                settle()
        for name in runners:
            print_row(name, workload, rounds[name], rounds.get("parkd"))


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
    print_head()
    compare(args.systems.split(","), args.root, args.jobs, args.backlog, args.rounds)


if __name__ == "__main__":
    main()
