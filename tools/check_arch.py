#!/usr/bin/env python3
"""Checks the rules of the house that a compiler does not: who may include whom, no include cycles, file sizes, header habits.

usage: tools/check_arch.py [ROOT]

Prints one line a violation (file:line: what) and exits 1 if there is one. Rules: docs/design.md.
"""
import re
import sys
from pathlib import Path

# What each part of src/ may include: whole folders ("tensor/") or single headers. A folder's own files are always allowed.
# One direction: base <- tensor <- formats, backend <- model <- engine <- server; text knows base alone.
# A backend's implementations stand apart: nobody but the program, benches and tests names one.
ALLOWED = {
    "base": [],
    "tensor": ["base/"],
    "text": ["base/"],
    "formats": ["base/", "tensor/", "text/"],
    "backend": ["base/", "tensor/"],
    "backend/reference": ["base/", "tensor/", "backend/"],
    "backend/cpu": ["base/", "tensor/", "backend/"],
    "backend/cuda": ["base/", "tensor/", "backend/"],
    "model": ["base/", "tensor/", "formats/", "backend/ops.h", "backend/batch.h", "backend/sampling.h"],
    "engine": ["base/", "text/", "model/", "backend/ops.h", "backend/batch.h", "backend/sampling.h"],
    "server": ["base/", "text/", "engine/", "formats/model_config.h", "formats/hf_config.h", "backend/sampling.h"],
    "report": ["base/"],
    "quantize": ["base/", "tensor/", "text/", "formats/", "backend/", "model/", "report/"],
    "eval": ["base/", "tensor/", "text/", "formats/", "backend/", "model/", "engine/", "report/"],
    "bench": ["base/", "tensor/", "text/", "formats/", "backend/", "model/", "engine/"],
    "advise": ["base/", "formats/", "model/", "engine/", "bench/"],
    "cli": ["base/", "tensor/", "text/", "formats/", "backend/", "backend/reference/", "backend/cpu/", "backend/cuda/", "model/",
            "engine/", "server/", "quantize/", "eval/", "bench/", "advise/", "report/"],
}
# Tests and benches of these may name the backends that exist: an op suite runs over all of them, a model's test needs one.
BACKENDS = ["backend/reference/", "backend/cpu/", "backend/cuda/"]
NEED_BACKENDS = {"backend", "model", "engine", "quantize", "eval", "bench", "advise", "server"}

WARN_LINES, MAX_LINES = 300, 500
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")
SOURCES = (".h", ".cc", ".cu", ".cuh", ".cmake", ".py", ".sh", ".js", ".css", ".html", ".txt")
GENERATED = {"cli/version.h", "backend/cuda/abi.h"}  # written by CMake


def part_of(path: str) -> str:
    """The part that a path below src/ belongs to: "backend/cpu" for backend/cpu/isa.h, "backend" for backend/ops.h."""
    folders = path.split("/")[:-1]
    longest = "/".join(folders[:2])
    return longest if longest in ALLOWED else folders[0] if folders else ""


def may_include(source: str, target: str) -> bool:
    part, target_part = part_of(source), part_of(target)
    if part == target_part:
        return True
    allowed = list(ALLOWED[part])
    if re.search(r"(_test|_bench|[_/]test_util)\.(cc|h)$", source):
        if part in NEED_BACKENDS:
            allowed += BACKENDS + ["backend/"]
        # What the part's own includes may include, its test may too.
        allowed += [a for below in ALLOWED[part] for a in ALLOWED.get(below.rstrip("/"), [])]
    return target in allowed or f"{target_part}/" in allowed


def find_cycles(graph):
    """Yields each include cycle once, as a list of files."""
    state, stack = {}, []

    def visit(node):
        state[node] = "open"
        stack.append(node)
        for target in graph.get(node, {}):
            if state.get(target) == "open":
                yield stack[stack.index(target):] + [target]
            elif target not in state:
                yield from visit(target)
        stack.pop()
        state[node] = "done"

    for node in sorted(graph):
        if node not in state:
            yield from visit(node)


def check_source(name: str, lines, known, graph):
    """The rules for one file below src/: includes, and what a header must have."""
    part = part_of(name)
    if part not in ALLOWED:
        yield 1, f"no rule for this folder in {Path(__file__).name}: add it to the table"
        return
    graph[name] = {}
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        target = match[1]
        if target in GENERATED:
            continue
        if target not in known:
            yield number, f'"{target}" is no file below src/ (quotes are for our own headers, by their path from src/)'
            continue
        graph[name][target] = number
        if not may_include(name, target):
            yield number, f'{part} must not include "{target}" (it may know: {", ".join(ALLOWED[part]) or "nothing"})'
    if name.endswith((".h", ".cuh")):
        if "#pragma once" not in lines:
            yield 1, "a header needs #pragma once"
        if not lines or not lines[0].startswith("//"):
            yield 1, "a header begins with a comment that says what it is for"


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    src = root / "src"
    files = [p for top in ("src", "tests", "tools", "cmake") if (root / top).is_dir()
             for p in sorted((root / top).rglob("*")) if p.suffix in SOURCES and "__pycache__" not in p.parts]
    known = {p.relative_to(src).as_posix() for p in files if src in p.parents}
    problems, warnings, graph = [], [], {}

    for path in files:
        shown = path.relative_to(root).as_posix()
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        code = path.suffix in (".h", ".cc", ".cu", ".cuh", ".py", ".sh")
        if code and len(lines) > MAX_LINES:
            problems.append(f"{shown}:{MAX_LINES + 1}: {len(lines)} lines; {MAX_LINES} is the most, {WARN_LINES} the aim: split by story")
        elif code and len(lines) > WARN_LINES:
            warnings.append(f"{shown}: {len(lines)} lines, the aim is {WARN_LINES}")
        if path != Path(__file__).resolve():
            for number, line in enumerate(lines, 1):
                if match := UNFINISHED.search(line):
                    problems.append(f"{shown}:{number}: {match[1]}: finish it or leave it out")
        if src in path.parents and path.suffix in (".h", ".cc", ".cu", ".cuh"):
            name = path.relative_to(src).as_posix()
            problems += [f"{shown}:{number}: {text}" for number, text in check_source(name, lines, known, graph)]

    for cycle in find_cycles(graph):
        line = graph[cycle[0]][cycle[1]]
        problems.append(f"src/{cycle[0]}:{line}: include cycle: {' -> '.join(cycle)}")

    for text in warnings:
        print("note:", text)
    for text in problems:
        print(text)
    print(f"check_arch: {len(files)} files, {len(problems)} problem{'' if len(problems) == 1 else 's'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
