#!/usr/bin/env python3
"""What a GPU does wrong while the program runs, and what the program says: usage: tools/gpu/faults.py [CASE]...

BIN: the folder of programs (build, or what tools/gpu/bundle.sh made). Each case is the real program as a user starts it; a
line each, exit code 1 if one is wrong. Cases: sticky memory plans visible
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("BIN", ROOT / "build")).resolve()
MODEL = str(ROOT / "tests/golden/models/llama31")


def run(*args, **environment):
    return subprocess.run([BIN / "octet", *args], capture_output=True, text=True, timeout=120, env=os.environ | environment)


def one_line(done, *parts):
    """It failed with one line of error that has all the parts."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("octet: error: ")]
    assert done.returncode not in (0, None) and done.returncode > 0, f"exit code {done.returncode}: {done.stderr}"
    assert len(errors) == 1, done.stderr
    for part in parts:
        assert re.search(part, errors[0]), f"'{part}' is not in: {errors[0]}"
    return errors[0]


class Server:
    def __init__(self, *args, **environment):
        self.errors = tempfile.NamedTemporaryFile("w+")
        self.process = subprocess.Popen([BIN / "octet", "serve", *args, "--port", "0"], stdout=subprocess.PIPE, stderr=self.errors,
                                        text=True, env=os.environ | environment)
        self.url = None
        for line in self.process.stdout:
            if line.startswith("ready: "):
                self.url = line.split()[1]
                return
        raise AssertionError("the server did not start: " + self.said())

    def said(self):
        return pathlib.Path(self.errors.name).read_text()

    def post(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def health(self):
        try:
            with urllib.request.urlopen(self.url + "/health", timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None


def sticky():
    """A key written far outside of the cache: the fault is the device's own, and for good."""
    server = Server(MODEL, "--backend", "cuda", "--max-batch", "16", "--kernel-plans", "off", OCTET_FAIL_AT_STEP="60",
                    OCTET_CUDA_LIBRARY=str(BIN / "liboctet_failing_device.so"))
    status, text = server.post("/v1/completions", {"prompt": "hello", "max_tokens": 4, "ignore_eos": True})
    assert status == 200, f"before the fault: {status} {text}"
    assert server.health() == 200
    answers, seen = [None] * 8, set()

    def ask(i):
        body = {"prompt": "hello " * (i + 1), "max_tokens": 100, "ignore_eos": True, "stream": i % 2 == 0}
        answers[i] = server.post("/v1/completions", body)

    clients = [threading.Thread(target=ask, args=[i]) for i in range(len(answers))]
    start = time.monotonic()
    for client in clients:
        client.start()
    while server.process.poll() is None and time.monotonic() < start + 60:
        seen.add(server.health())
        time.sleep(0.002)
    took = time.monotonic() - start
    code = server.process.poll()
    if code is None:
        server.process.kill()
    for client in clients:
        client.join()
    assert code == 1, f"exit code {code} after {took:.1f} s: {server.said()}"
    assert 503 in seen and seen <= {200, 503, None}, f"/health said {seen}"
    for i, (status, text) in enumerate(answers):
        assert "the device failed (cuda: " in text and "illegal memory access" in text, f"request {i}: {status} {text}"
        assert status in ((200, 503) if i % 2 == 0 else (500, 503)), f"request {i}: {status} {text}"  # 503: it came too late
    error = server.said().strip().splitlines()[-1]
    assert error.startswith("octet: error: the device failed"), server.said()
    return f"exit code 1 {took:.1f} s after the first request: {error}"


def memory():
    """More than there is: how much is missing, and what would fit."""
    whole = one_line(run("bench", "throughput", "--random-weights", "llama-3.1-70b", "--scheme", "bf16", "--backend", "cuda"),
                     r"needs [\d.]+ MiB before its KV cache but [\d.]+ MiB are free, [\d.]+ MiB are missing", "8-bit --scheme")
    cache = one_line(run("bench", "throughput", "--random-weights", "llama-3.1-8b", "--scheme", "bf16", "--backend", "cuda",
                         "--max-batch", "64", "--max-context", "131072", "--kv-memory", "900GiB"),
                     r"[\d.]+ MiB are missing", r"\d+ tokens \(\d+ sequences of 131072\)", r"--kv-memory \d+MiB")
    return f"{whole}\n    {cache}"


def plans():
    """A cache of kernels' plans that is not one: a warning, and on it goes."""
    with tempfile.TemporaryDirectory() as folder:
        said = []
        for name, text in (("broken", "{\x00 no json"), ("empty", ""), ("foreign", '{"plans": [1, 2, {"m": "x"}]}')):
            file = pathlib.Path(folder) / name
            file.write_text(text)
            done = run("generate", MODEL, "-p", "hello", "-n", "8", "--backend", "cuda", "--kernel-plans", str(file))
            warnings = [line for line in done.stderr.splitlines() if " W " in line and name in line]
            assert done.returncode == 0 and len(warnings) == 1, f"{name}: exit code {done.returncode}: {done.stderr}"
            assert file.read_text() == text, "a file that is not ours was written"
            said.append(warnings[0])
        return "\n    ".join(said)


def visible():
    """A driver that shows no GPU; a device that there is not."""
    hidden = one_line(run("generate", MODEL, "-p", "x", "-n", "1", "--backend", "cuda", CUDA_VISIBLE_DEVICES=""), "shows no GPU")
    other = one_line(run("generate", MODEL, "-p", "x", "-n", "1", "--backend", "cuda", "--device", "99"), "--device 99")
    return f"{hidden}\n    {other}"


def main(names):
    failed = 0
    for case in [globals()[name] for name in names] or [sticky, memory, plans, visible]:
        try:
            print(f"passed  {case.__name__}: {case()}")
        except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
            failed += 1
            print(f"FAILED  {case.__name__}: {error}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
