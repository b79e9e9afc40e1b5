"""A server for the tests: OCTET_BIN serves OCTET_MODEL; without a model, the server with a fake engine is tried.

OCTET_BIN      the binary (default build/octet, or build/octet_fake_server where OCTET_MODEL is not set)
OCTET_MODEL    the model's path
OCTET_SCREENS  a folder for pictures of the page (default: none are kept)
"""

import os
import pathlib
import re
import select
import signal
import subprocess
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
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + READY_SECONDS
        self.url = None
        while self.url is None:
            assert time.monotonic() < end, "the server did not get ready"
            ready, _, _ = select.select([self.process.stdout], [], [], 1.0)
            line = self.process.stdout.readline() if ready else ""
            assert line or self.process.poll() is None, f"the server ended: {self.process.stderr.read()[-2000:]}"
            if found := re.match(r"ready: (http://\S+)", line):
                self.url = found[1]
        self.port = int(self.url.rsplit(":", 1)[1])

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
        self.process.communicate()


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
