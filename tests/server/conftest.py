"""A server for the tests: OCTET_BIN serves OCTET_MODEL; without a model, the server with a fake engine is tried.

OCTET_BIN      the binary (default build/octet, or build/octet_fake_server where OCTET_MODEL is not set)
OCTET_MODEL    the model's path
OCTET_SCREENS  a folder for pictures of the page (default: none are kept)
"""

import os
import pathlib
import queue
import signal
import subprocess
import tempfile
import threading
import time

import openai
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = os.environ.get("OCTET_MODEL", "")
BINARY = pathlib.Path(os.environ.get("OCTET_BIN", ROOT / "build" / ("octet" if MODEL else "octet_fake_server")))
READY_SECONDS = 120


class Server:
    def __init__(self, *options):
        command = [str(BINARY), "serve", MODEL or "none", "--port", "0", *map(str, options)]
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        lines = queue.Queue()
        threading.Thread(target=self.read_lines, args=(lines,), daemon=True).start()
        end = time.monotonic() + READY_SECONDS
        line = ""
        while not line.startswith("ready: "):
            try:
                line = lines.get(timeout=max(end - time.monotonic(), 0))
            except queue.Empty:
                self.fail("the server did not get ready in time")
            if line is None:
                self.fail("the server ended")
        self.url = line.split()[1]
        self.port = int(self.url.rsplit(":", 1)[1])

    def read_lines(self, lines):
        for line in self.process.stdout:
            lines.put(line)
        lines.put(None)

    def fail(self, what):
        self.close()
        self.log.seek(0)
        pytest.fail(f"{what}: {self.log.read()[-2000:]}", pytrace=False)

    def client(self, **options):
        return openai.OpenAI(base_url=self.url + "/v1", api_key=options.pop("api_key", "none"), max_retries=0, **options)

    def async_client(self):
        return openai.AsyncOpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0)

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout=30):
        return self.process.wait(timeout)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def server():
    if not BINARY.exists():
        pytest.skip(f"{BINARY} is not built")
    started = Server()
    yield started
    started.close()


@pytest.fixture
def start_server():
    """For tests that need options of their own, or that stop the server."""
    if not BINARY.exists():
        pytest.skip(f"{BINARY} is not built")
    started = []

    def start(*options):
        started.append(Server(*options))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture(scope="session")
def client(server):
    return server.client()


@pytest.fixture(scope="session")
def model(client):
    return client.models.list().data[0].id


@pytest.fixture
def fake():
    """For what only the fake engine says exactly."""
    if MODEL:
        pytest.skip("exact texts are those of the fake engine")
