"""What `octet devices` says where a backend is there, and where it is not: a GPU is not needed for any of it."""
import json
import subprocess

import pytest


def cuda_problem(octet, library):
    cpu, cuda = json.loads(octet("devices", "--json", OCTET_CUDA_LIBRARY=str(library)).stdout)["devices"]
    assert cpu["backend"] == "cpu" and cpu["usable"] and cpu["memory_free"] > 0
    assert cuda["backend"] == "cuda" and not cuda["usable"]
    return cuda["problem"]


def test_text_names_every_backend(octet):
    lines = octet("devices").stdout.splitlines()
    assert lines[0].startswith("cpu     usable") and all(line.startswith("cuda") for line in lines[1:])
    assert len(lines) >= 2


def test_a_library_that_is_not_there(octet, tmp_path):
    problem = cuda_problem(octet, tmp_path / "nothing.so")
    assert "cannot load" in problem and "nothing.so" in problem and "\n" not in problem


@pytest.fixture
def library(tmp_path):
    """Makes a shared object from a line of C++."""
    def make(code):
        source, result = tmp_path / "library.cc", tmp_path / "library.so"
        source.write_text(code)
        subprocess.run(["g++", "-shared", "-fPIC", source, "-o", result], check=True, timeout=60)
        return result
    return make


def test_a_library_of_something_else(octet, library):
    assert "is not Octet's CUDA backend" in cuda_problem(octet, library("int nothing;"))


def test_a_library_of_another_build(octet, library):
    stranger = library('static const char* table[8] = {"0123"}; extern "C" const void* octet_cuda_plugin() { return table; }')
    assert "another build" in cuda_problem(octet, stranger)
