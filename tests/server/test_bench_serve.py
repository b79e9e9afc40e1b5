"""octet bench serve against our server, against servers that misbehave, and against none."""
import json
import os
import pathlib
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

OCTET = pathlib.Path(os.environ.get("OCTET_PROGRAM", pathlib.Path(__file__).resolve().parents[2] / "build" / "octet"))
SMALL = ["--token-ids", "97:120", "--input-len", "12", "--output-len", "16", "--num-prompts", "12"]


def bench(*args, code=0):
    done = subprocess.run([OCTET, "bench", "serve", *map(str, args)], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def stub():
    """A server whose answer to a completion is a list of raw pieces."""
    servers = []

    def start(pieces, status=200):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = b'{"object":"list","data":[{"id":"stub"}]}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Connection", "close")
                self.end_headers()
                for piece in pieces:
                    self.wfile.write(piece)
                    self.wfile.flush()
                self.close_connection = True

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_counts_every_token_of_our_server(server):
    result = json.loads(bench(server.url, *SMALL, "--max-concurrency", 4, "--json", "--details").stdout)
    assert result["completed"] == 12 and result["failed"] == 0
    assert result["total_output_tokens"] == 12 * 16 and result["total_input_tokens"] == 12 * 12
    assert result["output_lens"] == [16] * 12 and len(result["ttfts"]) == 12
    assert 0 < result["median_ttft_ms"] < result["median_e2el_ms"]
    for metric in ("ttft", "tpot", "itl", "e2el"):
        assert result[f"p99_{metric}_ms"] >= result[f"median_{metric}_ms"] >= 0


def test_keeps_up_with_20000_streamed_tokens_a_second(start_server, fake):
    url = start_server("--step-us", 1000).url  # 64 tokens a millisecond at most, each an event of its own
    args = ["--token-ids", "97:120", "--input-len", 16, "--output-len", 256, "--num-prompts", 256, "--max-concurrency", 64]
    result = json.loads(bench(url, *args, "--json", "--details").stdout)
    assert result["failed"] == 0 and result["total_output_tokens"] == 256 * 256
    events = sum(len(times) + 1 for times in result["itls"])  # a server that is kept waiting sends some tokens together
    assert events / result["duration"] > 20_000


def test_arrivals_and_goodput(server):
    result = json.loads(bench(server.url, *SMALL, "--rate", 40, "--goodput", "ttft:60000", "e2el:60000", "--json").stdout)
    assert result["request_goodput"] == pytest.approx(result["request_throughput"])
    assert result["request_rate"] == 40


def test_conversations(server, tmp_path):
    data = tmp_path / "chat.jsonl"
    data.write_text('{"messages":[{"role":"user","content":"say:hello"}]}\n{"turns":["say:bye"]}\n')
    result = json.loads(bench(server.url, "--dataset", data, "--num-prompts", 4, "--output-len", 8, "--json").stdout)
    assert result["completed"] == 4 and result["total_output_tokens"] > 0


def test_two_servers_by_turns(server):
    done = bench(server.url, server.url + "/v1", *SMALL, "--rounds", 3, "--json")
    result = json.loads(done.stdout)
    assert [len(one["rounds"]) for one in result["servers"]] == [3, 3]
    ratio = result["ratios"]["output_throughput"]
    assert ratio["low"] <= ratio["ratio"] <= ratio["high"]


def test_what_was_measured_before_a_server_went_away_is_kept(start_server, fake, tmp_path):
    stays, goes = start_server("--step-us", 500), start_server("--step-us", 500)
    args = [*SMALL[:-1], 64, "--max-concurrency", 8, "--rounds", 1000]
    out = tmp_path / "out.json"
    timer = threading.Timer(1.5, goes.close)
    timer.start()
    done = bench(stays.url, goes.url, *args, "--output", out, code=1)
    timer.join()
    assert f"{goes.url}: no request went through" in done.stderr
    assert "A / B (95 % interval)" in done.stdout
    result = json.loads(out.read_text())
    assert "no request went through" in result["error"] and result["ratios"]["output_throughput"]["ratio"] > 0
    assert all(len(server["rounds"]) > 1 for server in result["servers"])


def test_prompts_that_are_refused_are_failures(server):
    done = bench(server.url, "--token-ids", "97:120", "--input-len", 100_000, "--output-len", 4, "--num-prompts", 2, code=1)
    assert "400" in done.stderr and "no request went through" in done.stderr


def test_the_model_of_another_name(server):
    assert "404" in bench(server.url, *SMALL, "--model", "no-such-model", code=1).stderr


@pytest.mark.parametrize("pieces, status, expected", [
    ([b"data: nonsense\n\n"], 200, "no JSON object"),
    ([b'data: {"choices":[{"text":"a"}]}\n\n', b'data: {"error":{"message":"the GPU is gone"}}\n\n'], 200, "the GPU is gone"),
    ([b'data: {"choices":[{"text":"a"}]}\n\n'] * 3, 200, "stopped midway, after 3 events"),
    ([b""], 200, "without a token"),
    ([b"<html>\n  <p>busy</p>\n</html>"], 503, "status 503: <html> <p>busy</p> </html>"),
], ids=["nonsense", "error-midway", "stops-midway", "empty", "busy"])
def test_servers_that_misbehave(stub, pieces, status, expected):
    done = bench(stub(pieces, status), *SMALL, code=1)
    assert expected in done.stderr and done.stderr.count("octet: error:") == 1


def test_a_server_without_usage_counts_its_events(stub):
    url = stub([b'data: {"choices":[{"text":"a"}]}\n\n'] * 3 + [b"data: [DONE]\n\n"])
    assert json.loads(bench(url, *SMALL, "--json").stdout)["total_output_tokens"] == 36


def test_no_server():
    assert "refused" in bench("http://127.0.0.1:1", code=1).stderr


@pytest.mark.parametrize("args, expected", [
    (["https://x"], "https"),
    (["http://x:port"], "http://HOST:PORT"),
    (["http://x:99999"], "http://HOST:PORT"),
    (["http://x", "--goodput", "speed:3"], "speed:3"),
    (["http://x", "--token-ids", "5"], "LOW:HIGH"),
    (["http://x", "--num-prompts", "0"], "--num-prompts"),
    (["http://x", "--trace", "t", "--rate", "3"], "--rate"),
])
def test_options_that_make_no_sense(args, expected):
    assert expected in bench(*args, code=2).stderr


def test_a_file_that_is_not_there(server):
    assert "no-such-file" in bench(server.url, "--dataset", "no-such-file", code=1).stderr
