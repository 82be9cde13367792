#!/usr/bin/env python3
"""parkd against its own description: schemathesis makes requests of /openapi.json, good ones and bad ones, and holds
every answer to it (statuses, forms of bodies, methods, tokens).
    openapi_check.py PARKD MAKE_TINY_MODEL [EXAMPLES [SEED]]"""
import pathlib
import random
import subprocess
import sys

from daemon import Daemon

parkd, make_tiny_model = sys.argv[1:3]
examples = sys.argv[3] if len(sys.argv) > 3 else "10"
seed = sys.argv[4] if len(sys.argv) > 4 else str(random.randrange(2**32))
here = pathlib.Path(__file__).parent
daemon = Daemon(parkd, make_tiny_model, "tcp")
daemon.start()
print(f"schemathesis: {examples} examples an operation, seed {seed}", flush=True)
run = subprocess.run([
    pathlib.Path(sys.executable).parent / "schemathesis", "--config-file", here / "schemathesis.toml", "run",
    f"http://127.0.0.1:{daemon.port}/openapi.json", "--header", f"Authorization: Bearer {daemon.token}",
    "--max-examples", examples, "--seed", seed, "--request-timeout", "60", "--warnings", "off",
    "--exclude-path-regex", "stream$"])  # which does not end before its job
alive = daemon.process.poll() is None
daemon.stop(15)
if not alive:
    sys.exit("parkd ended meanwhile")
sys.exit(run.returncode)
