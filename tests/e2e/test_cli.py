"""Every command as a user types it, with the real small model, and what happens when it is typed wrong."""
import json
import re
import socket
import subprocess

import pytest

COMMANDS = [["quantize"], ["plant"], ["serve"], ["generate"], ["chat"], ["inspect"], ["tokenize"], ["bench", "throughput"],
            ["bench", "latency"], ["bench", "sweep"], ["bench", "kernels"], ["bench", "startup"], ["bench", "serve"], ["eval", "perplexity"], ["eval", "divergence"],
            ["eval", "mmlu"], ["eval", "arc"], ["eval", "piqa"], ["eval", "gsm8k"], ["eval", "compare"], ["profile"], ["report"], ["devices"], ["advise"], ["completion"]]
GREEDY = ["-p", "Gravity is", "-n", "24", "--temperature", "0", "--json", "--max-context", "512"]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_shows_an_example(octet, command):
    text = octet(*command, "--help").stdout
    assert "Example:" in text and "octet " + " ".join(command) in text or command == ["completion"]


def error_line(done):
    lines = [line for line in done.stderr.splitlines() if "octet: error:" in line]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize("args, code, expected", [
    (["serve", "no-such-model"], 1, "no-such-model"),
    (["generate", "no-such-model.gguf", "-p", "x"], 1, "no-such-model.gguf"),
    (["inspect"], 2, "no model"),
    (["inspect", "--random-weights", "llama-9"], 1, "llama-9"),
])
def test_a_model_that_is_not_there(octet, args, code, expected):
    assert expected in error_line(octet(*args, code=code))


@pytest.mark.parametrize("args, expected", [
    (["--scheme", "int8-static"], "calibration"),
    (["--scheme", "int9"], "int8-minmax"),
    (["--scheme", "fp8", "--exclude", "("], "regular expression"),
    (["--kv-dtype", "int4"], "int4"),
    (["--kv-memory", "lots"], "--kv-memory"),
    (["--kv-memory", "1KiB"], "--kv-memory"),
    (["--max-context", "1000000"], "--max-context"),
    (["--isa", "mmx"], "mmx"),
    (["--backend", "tpu"], "tpu"),
    (["--max-batch", "0"], "--max-batch"),
    (["--page-size", "7"], "--page-size"),
    (["--fast"], "--fast"),
])
def test_options_that_make_no_sense(octet, model, args, expected):
    assert expected in error_line(octet("bench", "throughput", model, *args, code=2))


def test_options_that_make_no_sense_for_a_server(octet, model):
    for args in (["--port", "99999"], ["--max-queue", "0"], ["--max-connections", "0"], ["--drain-timeout", "-1"]):
        assert args[0] in error_line(octet("serve", model, *args, code=2))


def test_an_address_that_is_taken_is_told_before_loading(octet, model):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = octet("serve", model, "--port", taken.getsockname()[1], code=1)
    assert "in use" in error_line(done) and "memory:" not in done.stderr


def test_options_given_several_times_leave_the_model_alone(octet, tmp_path):
    missing = tmp_path / "missing.gguf"
    assert missing.name in error_line(octet("serve", "--api-key", "a", "--api-key", "b", missing, code=1))
    assert missing.name in error_line(octet("generate", "-p", "x", "--stop", "y", missing, code=1))


def test_a_cache_smaller_than_the_context_is_told(octet, model):
    log = octet("generate", model, "-p", "Hi", "-n", "2", "--kv-memory", "2MiB").stderr
    assert "context of 8192 tokens" in log


def test_a_truncated_file(octet, model, tmp_path):
    whole = open(model, "rb").read(3_000_000)
    for size in (0, 3, 1000, 2_999_999):
        broken = tmp_path / f"broken-{size}.gguf"
        broken.write_bytes(whole[:size])
        assert broken.name in error_line(octet("inspect", broken, code=1))


def test_inspect(octet, model, quantized):
    assert "llama" in octet("inspect", model).stdout
    source = json.loads(octet("inspect", model, "--json").stdout)
    written = json.loads(octet("inspect", quantized, "--json").stdout)
    assert len(source["memory"]) >= 5 and "served_as" not in source
    planned = json.loads(octet("inspect", model, "--scheme", "fp8", "--json").stdout)
    assert {s["scheme"]: s["modules"] for s in planned["served_as"]} == {"bf16": 1, "fp8": 210}
    assert any(scheme["scheme"] == "int8-minmax" and scheme["modules"] == 211 for scheme in written["schemes"])


def test_quantized_checkpoint_says_the_same_as_quantizing_while_loading(octet, model, quantized):
    read_back = json.loads(octet("generate", quantized, *GREEDY).stdout)
    direct = json.loads(octet("generate", model, "--scheme", "int8-minmax", "--quantize-head", *GREEDY).stdout)
    assert read_back["text"] == direct["text"] and len(direct["text"]) > 20
    assert direct["scheme"] == read_back["scheme"] == "int8-minmax"


@pytest.mark.parametrize("scheme", ["bf16", "fp16", "fp8"])
def test_every_scheme_writes_sense(octet, model, scheme):
    text = json.loads(octet("generate", model, "--scheme", scheme, *GREEDY).stdout)["text"]
    assert "fundamental" in text, text


@pytest.mark.parametrize("kv", ["int8", "fp8"])
def test_every_cache_writes_sense(octet, model, kv):
    text = json.loads(octet("generate", model, "--scheme", "int8-minmax", "--kv-dtype", kv, *GREEDY).stdout)["text"]
    assert "fundamental" in text, text


@pytest.mark.parametrize("option", [["--temperature", "-1"], ["--top-p", "1.5"], ["--min-p", "-1"], ["-n", "0"]], ids=" ".join)
def test_sampling_options_that_make_no_sense(octet, quantized, option):
    error_line(octet("generate", quantized, "-p", "x", "--max-context", "64", *option, code=2))


def test_chat_answers_and_ends(octet, quantized):
    done = octet("chat", quantized, "--temperature", "0", "-n", "16", "--max-context", "512",
                 stdin="What is the capital of France?\n\n")
    assert "Paris" in done.stdout


def test_tokenize_and_back(octet, model):
    tokens = json.loads(octet("tokenize", model, "Hello, wörld!", "--json").stdout)
    ids = ",".join(str(token["id"]) for token in tokens["tokens"])
    assert octet("tokenize", model, "--ids", ids).stdout.rstrip("\n").endswith("Hello, wörld!")
    for outside in ("-1", "49152"):
        assert outside in error_line(octet("tokenize", model, f"--ids={outside}", code=2))


def test_tokenize_needs_no_model(octet, tmp_path):
    golden = "tests/golden/models/llama31/tokenizer.json"
    assert octet("tokenize", golden, "a b").stdout.split()
    assert "no tokenizer" in error_line(octet("tokenize", tmp_path, "a b", code=1))


def test_bench_throughput_reports_every_field(octet, quantized):
    done = octet("bench", "throughput", quantized, "--input-len", "32", "--output-len", "8", "--requests", "4",
                 "--max-batch", "2", "--json")
    result = json.loads(done.stdout)
    for field in ("output_tok_s", "total_tok_s", "request_s", "ttft_ms", "tpot_ms", "seconds", "scheme", "device", "model", "version"):
        assert field in result
    assert result["kind"] == "throughput"
    assert result["output_tokens"] == 32 and result["input_tokens"] == 128
    assert result["total_tok_s"] > result["output_tok_s"] > 0


def test_bench_throughput_takes_arrivals_from_a_file(octet, model, tmp_path):
    file = tmp_path / "arrivals.txt"
    bench = ["bench", "throughput", model, "--input-len", "16", "--output-len", "4", "--max-batch", "4", "--json", "--arrivals", file]
    file.write_text("0\n0.1\n1.2\n")
    result = json.loads(octet(*bench).stdout)
    assert result["requests"] == 3 and abs(result["rate"] - 2 / 1.2) < 1e-3 and result["output_tokens"] == 12 and result["seconds"] > 1.2
    assert result["arrivals"] == str(file) and result["ttft_ms"]["p99"] < 1000
    for text, expected in (("0\n2\n1\n", "line 3"), ("0\nsoon\n", "line 2"), ("", "no arrival"), ("nan\n", "line 1")):
        file.write_text(text)
        assert expected in error_line(octet(*bench, code=1))
    assert "--rate" in error_line(octet(*bench, "--rate", "4", code=2))


def test_bench_sweep_goes_on_where_it_stopped(octet, model, tmp_path):
    rows = tmp_path / "rows.jsonl"
    sweep = ["bench", "sweep", model, "--schemes", "bf16,int8-minmax", "--workloads", "16/4,4/8", "--max-batches", "1,2",
             "--requests-per-sequence", "1", "--output", rows]
    table = octet(*sweep).stdout
    first = rows.read_text().splitlines()
    assert len(first) == 8 and table.count("int8-minmax") == 4
    row = json.loads(first[0])
    assert row["kind"] == "sweep" and row["version"] in octet("--version").stdout and row["asked_scheme"] in row["command"]
    assert row["command"] == "octet " + " ".join(map(str, sweep))
    rows.write_text("\n".join(first[:3]) + "\n" + first[3][:40])  # interrupted in the middle of a row
    octet(*sweep, "--json")
    again = rows.read_text().splitlines()
    assert again[:3] == first[:3] and len(again) == 8
    assert {json.loads(row)["cell"] for row in again} == {json.loads(row)["cell"] for row in first}
    assert "int9" in octet(*sweep, "--schemes", "int9", code=2).stderr.splitlines()[-1] and rows.read_text().splitlines() == again
    for others in ("not a row\n" + first[0] + "\n", "not a row\n", '{"kind": "profile"}'):  # kept as it is
        rows.write_text(others)
        assert "line 1" in error_line(octet(*sweep, code=1)) and rows.read_text() == others


@pytest.mark.parametrize("args, code, expected", [
    (["no-such-model"], 1, "octet: error: no-such-model: no such file"),
    (["--random-weights", "smollm2-135m", "--workloads", "9000/10"], 2, "9010 tokens, and the model was made for"),
    (["--random-weights", "smollm2-135m", "--schemes", "bf16,fp8", "--kv-memory", "1KiB"], 1, "--kv-memory"),
])
def test_bench_sweep_leaves_no_empty_file(octet, tmp_path, args, code, expected):
    done = octet("bench", "sweep", *args, "--output", tmp_path / "rows.jsonl", code=code)
    errors = [line for line in done.stderr.splitlines() if "octet: error:" in line]
    assert len(errors) == (2 if "bf16,fp8" in args else 1) and all(expected in line for line in errors)
    assert list(tmp_path.iterdir()) == [] and done.stdout == ""


def test_random_weights(octet):
    done = octet("bench", "latency", "--random-weights", "smollm2-135m", "--scheme", "int8-minmax", "--prefill", "16",
                 "--context", "8", "--decode-batch", "1,2", "--steps", "2", "--repeats", "1", "--json")
    assert [row["batch"] for row in json.loads(done.stdout)["decode"]] == [1, 2]


def test_profile_writes_what_it_measured(octet, model, tmp_path):
    files = {name: tmp_path / name for name in ("out.json", "report.html", "trace.json")}
    profile = ["profile", model, "--schemes", "int8-minmax", "--batches", "1,2", "--contexts", "24", "--prefill", "16",
               "--repeats", "2", "--seconds", "0.001"]
    table = octet(*profile, "--output", files["out.json"], "--report", files["report.html"], "--trace", files["trace.json"]).stdout
    assert "decode, 2 sequences of 24 tokens" in table and "linear gate_up" in table and "sum of ops" in table
    result = json.loads(files["out.json"].read_text())
    assert result["kind"] == "profile" and result["version"] and "--batches 1,2" in result["command"]
    steps = result["steps"]
    assert [(s["phase"], s["tokens"]) for s in steps] == [("decode", 1), ("decode", 2), ("prefill", 16)]
    for step in steps:
        assert sum(part["us"] for part in step["parts"]) == pytest.approx(step["ops_us"] + step["rest_us"])
    assert {e["ph"] for e in json.loads(files["trace.json"].read_text())["traceEvents"]} == {"M", "X"}
    page = files["report.html"].read_text()
    assert "Decode step by batch size" in page and page.rstrip().endswith("</html>")


@pytest.mark.parametrize("args, expected", [
    (["--batches", "0"], "--batches"),
    (["--batches", "x"], "--batches"),
    (["--contexts", "100000"], "--contexts 100000"),
    (["--prefill", "9000"], "--prefill 9000"),
    (["--repeats", "0"], "--repeats"),
    (["--schemes", "int9"], "int9"),
    (["--output", "no/such/folder/p.json"], "no/such/folder/p.json: cannot create"),
    (["--trace", "/tmp"], "/tmp: cannot create the file: Is a directory"),
])
def test_profile_options_that_make_no_sense(octet, model, args, expected):
    assert expected in error_line(octet("profile", model, *args, code=2))


def test_profile_without_room_for_a_step(octet, model):
    assert "--kv-memory" in error_line(octet("profile", model, "--kv-memory", "1KiB", "--contexts", "8", "--prefill", "8", code=1))


def test_bench_startup_names_every_phase(octet, quantized):
    report = json.loads(octet("bench", "startup", quantized, "--repeats", "1", "--max-context", "64", "--json").stdout)
    warm = report["warm"]
    assert ("cold" in report) != ("no_cold" in report)
    assert sum(warm["phases_ms"].values()) == pytest.approx(warm["ready_ms"]) and len(warm["phases_ms"]) == 8
    assert warm["first_token_ms"] > warm["ready_ms"] and warm["next_first_token_ms"] > 0


@pytest.mark.parametrize("args, code, expected", [
    (["no-such-model"], 1, "no-such-model"),
    (["--random-weights", "smollm2-135m", "--scheme", "int9"], 2, "int9"),
    (["--random-weights", "smollm2-135m", "--repeats", "0"], 2, "--repeats"),
])
def test_bench_startup_options_that_make_no_sense(octet, args, code, expected):
    assert expected in error_line(octet("bench", "startup", *args, code=code))


def test_memory_plan_is_printed_before_loading(octet, quantized):
    log = octet("generate", quantized, *GREEDY).stderr
    assert re.search(r"memory: weights [\d.]+ MiB, KV cache", log)
    assert log.index("memory:") < log.index("model:")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(octet, shell, tmp_path):
    script = tmp_path / "completion"
    script.write_text(octet("completion", shell).stdout)
    assert "quantize" in script.read_text() and "--kv-dtype" in script.read_text()
    if shell == "bash":
        check = f"source {script}; COMP_WORDS=(octet bench thr); COMP_CWORD=2; _octet; echo ${{COMPREPLY[@]}}"
        assert "throughput" in subprocess.run(["bash", "-c", check], capture_output=True, text=True, check=True).stdout
