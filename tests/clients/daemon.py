"""A real daemon with the tiny model and OpenAI's client of it, and what every test here says of an answer."""
import atexit
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import httpx
import openai

import webhook_receiver

MESSAGES = [{"role": "user", "content": "Say something."}]
CONFIG = """
daemon:
  state_dir: {state}
  socket: {socket}
  listen: 127.0.0.1:{port}
  tokens_file: {home}/tokens
  tenants: {{"{uid}": clients}}
  webhooks:
    - tenant: clients
      url_prefix: {webhooks}
      secret_file: {home}/secret
{queue}models:
  - name: {model}
    local_path: {home}/tiny.gguf
    params: {{kvcache_mem_cpu: 64, max_num_seqs: 4}}
"""
QUEUE = """  postgres: {{beat_ms: 300, ttl_ms: 2000, poll_ms: 300}}
parking_lot:
  queue:
    backend: postgres
    postgres_url: {url}
"""


def database(jobctl):
    """The URL of a new one in the sandbox (tools/pg_sandbox.sh), for a daemon's login."""
    name = f"clients_{os.getpid()}"
    subprocess.run(["psql", "-q", "-c", f"CREATE DATABASE {name}"], check=True)
    url = f"postgresql:///{name}?host={os.environ['PGHOST']}"
    subprocess.run([jobctl, "migrate", "up", "--dsn", url], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["psql", "-q", "-c", "CREATE ROLE parkd_worker LOGIN IN ROLE parkd_daemon"], check=True)
    return f"{url}&user=parkd_worker"


class Daemon:
    """One of its own queue, by its socket or by TCP; "postgres": by its socket, and a second daemon on its database, which
    goes on where this one is killed."""

    def __init__(self, parkd, make_tiny_model, door, model="tiny"):
        self.model = model
        self.door = door
        self.token = "the token of the clients"
        self.parkd = parkd
        self.directory = tempfile.TemporaryDirectory()
        self.home = pathlib.Path(self.directory.name)
        subprocess.run([make_tiny_model, self.home / "tiny.gguf", "--context", "8192"], check=True)
        self.receiver = webhook_receiver.Receiver()
        for name, text in [("tokens", f"clients:{hashlib.sha256(self.token.encode()).hexdigest()}"),
                           ("secret", webhook_receiver.SECRET)]:
            (self.home / name).touch(mode=0o600)
            (self.home / name).write_text(text + "\n")
        self.queue = self.neighbour = ""
        if door == "postgres":
            self.queue = QUEUE.format(url=database(pathlib.Path(parkd).parents[1] / "tools/jobctl/jobctl"))
            self.neighbour = self.write_config("neighbour", port=0)
        self.configure(port=0)

    def configure(self, port):
        self.port = port
        self.config = self.write_config("parkd", port)

    def write_config(self, name, port):
        path = self.home / f"{name}.yaml"
        path.write_text(CONFIG.format(
            home=self.home, state=self.home / f"{name}.state", socket=self.home / f"{name}.sock", port=port,
            model=self.model, uid=os.getuid(), webhooks=self.receiver.prefix, queue=self.queue))
        return path

    def launch(self, config):
        process = subprocess.Popen([self.parkd, "--config", config], stderr=open(self.home / "log", "a"))
        atexit.register(process.kill)  # where a test fails
        return process

    def start(self):
        self.process = self.launch(self.config)
        if self.neighbour:
            self.launch(self.neighbour)
            self.neighbour = ""
        if self.door == "tcp" and self.port == 0:
            self.configure(self.port_that_it_chose())  # the same one after a restart
        self.client = openai.OpenAI(**self.address(httpx.Client))
        while True:
            if self.process.poll() is not None:
                sys.exit(f"parkd ended:\n{(self.home / 'log').read_text()}")
            try:
                if self.client.models.retrieve(self.model).to_dict()["state"] == "ready":
                    return
            except openai.APIConnectionError:
                pass
            time.sleep(0.1)

    def address(self, kind):
        """What OpenAI's client is made with: by TCP no more than people write."""
        if self.door == "tcp":
            return {"base_url": f"http://127.0.0.1:{self.port}/v1", "api_key": self.token}
        transport = httpx.HTTPTransport if kind is httpx.Client else httpx.AsyncHTTPTransport
        return {"base_url": "http://parkd/v1", "api_key": "unused",
                "http_client": kind(transport=transport(uds=str(self.home / "parkd.sock")), timeout=600)}

    def http(self):
        """The same door without OpenAI's package."""
        address = self.address(httpx.Client)
        if self.door != "tcp":
            address["http_client"].base_url = address["base_url"]
            return address["http_client"]
        return httpx.Client(base_url=address["base_url"], timeout=600,
                            headers={"Authorization": f"Bearer {self.token}"})

    def port_that_it_chose(self):
        socket = httpx.Client(transport=httpx.HTTPTransport(uds=str(self.home / "parkd.sock")))
        while self.process.poll() is None:
            try:
                return int(socket.get("http://parkd/readyz").json()["listen"][0].rpartition(":")[2])
            except httpx.TransportError:
                time.sleep(0.1)
        sys.exit(f"parkd ended:\n{(self.home / 'log').read_text()}")

    def live_jobs(self):
        return self.client.get("/jobs", cast_to=httpx.Response).json()["jobs"]

    def stop(self, number):
        self.process.send_signal(number)
        self.process.wait()


def strictly(kind, raw):
    """What a call by with_raw_response was answered, read by its type as it stands on the wire, each field of its own
    type: the package itself makes a number of a text without a word."""
    kind.model_validate_json(raw.text, strict=True)
    return raw.parse()


def strictly_listed(kind, raw):
    """The same of a page."""
    for one in json.loads(raw.text)["data"]:
        kind.model_validate_json(json.dumps(one), strict=True)
    return raw.parse()


def refused(kind, call, **fields):
    try:
        call()
    except kind as error:
        for name, value in fields.items():
            assert getattr(error, name) == value, f"{name} is {getattr(error, name)!r}, not {value!r}"
        return error
    raise AssertionError(f"no {kind.__name__}")
