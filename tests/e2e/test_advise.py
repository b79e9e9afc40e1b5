"""`octet advise` as a user types it: a small workload, a recipe that `quantize` takes, and bounds that make no sense or that nothing meets."""
import json
import pathlib

import pytest

SMALL = ["--workload", "32/8", "--max-batch", "2", "--schemes", "int8-minmax", "--windows", "1"]


def error_line(done):
    lines = [line for line in done.stderr.splitlines() if "octet: error:" in line]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture(scope="session")
def quality(tmp_path_factory):
    path = tmp_path_factory.mktemp("advise") / "quality.json"
    rows = [{"scheme": "baseline", "kl": 0, "top1": 1}, {"scheme": "int8-minmax", "kl": 0.03, "top1": 0.93, "ratio": 1.03}]
    path.write_text(json.dumps({"rows": rows}))
    return str(path)


def test_a_recommendation_is_checked_and_its_recipe_is_taken(octet, model, quality, tmp_path):
    recipe = tmp_path / "recipe.json"
    done = octet("advise", model, *SMALL, "--quality", "kl<0.05", "--quality-from", quality, "--recipe", recipe, "--max-step-tokens", "48", "--json")
    advice = json.loads(done.stdout)
    assert advice["max_step_tokens"] == 48 == max(step["tokens"] for v in advice["variants"] for step in v["measured"]["steps"])
    assert {v["scheme"] for v in advice["variants"]} == {"bf16", "int8-minmax"}
    for variant in advice["variants"]:
        assert variant["meets"] and variant["predicted"]["served"]["output_tok_s"] > 0
        assert len(variant["measured"]["steps"]) > 4
    assert advice["check"]["measured"]["output_tokens"] == 16 and advice["slower_now"] > 0
    assert advice["recommended"]["scheme"] == json.loads(recipe.read_text())["scheme"]
    octet("quantize", model, "--recipe", recipe, "-o", tmp_path / "out")


def test_quality_is_measured_on_a_text(octet, model, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"In the year {1900 + i} the river rose by {i} feet." for i in range(80)))
    done = octet("advise", model, *SMALL, "--quality", "kl<0.5,top1>50%", "--data", text, "--no-check")
    assert "text.txt, 512 tokens" in done.stdout and "not checked" in done.stdout and "use " in done.stdout


def test_a_bound_that_nothing_meets(octet, model, quality, tmp_path):
    output = tmp_path / "advice.json"
    done = octet("advise", model, *SMALL, "--quality", "kl<0.05", "--quality-from", quality, "--memory", "1MiB", "--output", output, code=1)
    assert "comes closest" in error_line(done) and len(json.loads(output.read_text())["variants"]) == 2


def test_a_scheme_for_each_layer(octet, tmp_path):
    small = pathlib.Path(__file__).resolve().parents[1] / "golden/models/llama31"  # two layers
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"In the year {1900 + i} the river rose by {i} feet." for i in range(80)))
    recipe = tmp_path / "recipe.json"
    done = octet("advise", small, *SMALL, "--quality", "kl<0.001", "--data", text, "--no-check", "--recipe", recipe, "--json")
    advice = json.loads(done.stdout)
    told = ("plan by layer: ", "no plan by layer", "a plan by layer is unnecessary")  # by what is faster just now
    assert advice["by_layer"].startswith(told)
    for variant in advice["variants"]:
        if variant["scheme"] == "by layer":
            assert variant["measured"]["kl"] < 0.001 and variant["meets"]
    octet("quantize", small, "--recipe", recipe, "-o", tmp_path / "out")


@pytest.mark.parametrize("args, code, expected", [
    (["--quality", "kl"], 2, "--quality 'kl'"),
    (["--quality", "mmlu>0.5"], 2, "mmlu"),
    (["--workload", "2048"], 2, "--workload"),
    (["--workload", "9000/1"], 2, "8192"),
    (["--ttft", "soon"], 2, "--ttft"),
    (["--memory", "lots"], 2, "--memory"),
    (["--schemes", "int9"], 2, "int9"),
    (["--kv-dtypes", "int4"], 2, "int4"),
    (["--data", "no.txt"], 2, "--quality"),
    (["--quality", "kl<1", "--data", "no.txt"], 1, "no.txt"),
    (["--max-batch", "0"], 2, "--max-batch"),
    (["--requests", "0"], 2, "--requests: '0'"),
    (["--output", "no/such/folder/a.json"], 2, "no/such/folder/a.json: cannot create"),
    (["--recipe", "no/such/folder/r.json"], 2, "no/such/folder/r.json: cannot create"),
    (["--workload", "32/8x2"], 2, "--requests says how many"),
    (["--recipe", "r.json", "--exclude", "mlp"], 2, "--recipe"),
    (["--no-prefix-cache"], 2, "--no-prefix-cache"),
])
def test_bad_input(octet, model, args, code, expected):
    assert expected in error_line(octet("advise", model, *args, code=code))


def test_a_file_of_qualities_that_lacks_a_scheme(octet, model, quality):
    done = octet("advise", model, "--schemes", "fp8", "--quality", "kl<1", "--quality-from", quality, code=1)
    assert "'fp8'" in error_line(done)


def test_a_recipe_that_is_wrong(octet, model, tmp_path):
    recipe = tmp_path / "r.json"
    recipe.write_text('{"octet_recipe": 1, "scheme": "fp8", "layers": {"model.layers.99": "bf16"}}')
    done = octet("quantize", model, "--recipe", recipe, "-o", tmp_path / "out", code=2)
    assert "r.json: layers: model.layers.99" in error_line(done)
    assert "--recipe" in error_line(octet("quantize", model, "-o", tmp_path / "out", code=2))
