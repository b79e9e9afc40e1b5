"""Measures llama.cpp in a process of its own, through llama-cpp-python's low-level API. tools/compare_llama_cpp.py runs it.

usage: llama_cpp_worker.py quantize MODEL.gguf OUT.gguf FTYPE
       llama_cpp_worker.py measure MODEL.gguf THREADS PREFILL CONTEXT STEPS REPEATS BATCH...

`measure` prints one JSON line with the fields of `octet bench latency --json`, each number a median of REPEATS after a warm-up.
"""
import ctypes
import json
import statistics
import sys
import time

import llama_cpp as llama


@llama.llama_log_callback
def quiet(level, text, user):
    pass


class Session:
    """A context for n_seqs sequences; all settings are llama.cpp's own defaults but for sizes and threads."""

    def __init__(self, model, n_seqs, tokens_per_seq, threads):
        params = llama.llama_context_default_params()
        params.n_ctx = (tokens_per_seq + 255) // 256 * 256 * n_seqs
        params.n_seq_max = n_seqs
        params.n_threads = params.n_threads_batch = threads
        self.context = llama.llama_init_from_model(model, params)
        if not self.context:
            sys.exit("llama.cpp made no context")
        self.batch = llama.llama_batch_init(max(tokens_per_seq, n_seqs), 0, 1)

    def close(self):
        llama.llama_batch_free(self.batch)
        llama.llama_free(self.context)

    def clear(self):
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)

    def run(self, tokens):
        """One step over tokens of (id, position, sequence, logits wanted); returns its seconds."""
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, (token, position, sequence, logits) in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, logits
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
        start = time.perf_counter()
        if llama.llama_decode(self.context, batch) != 0:
            sys.exit("llama_decode failed")
        llama.llama_synchronize(self.context)
        return time.perf_counter() - start


def token_at(position, sequence):
    return 1000 + (position * 7 + sequence * 13) % 20000


def prompt(n, sequence):
    return [(token_at(i, sequence), i, sequence, int(i == n - 1)) for i in range(n)]


def measure(path, threads, prefill, context, steps, repeats, *batches):
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    if not model:
        sys.exit(f"llama.cpp cannot load {path}")
    session = Session(model, 1, prefill, threads)
    seconds = []
    for _ in range(repeats + 1):
        session.clear()
        seconds.append(session.run(prompt(prefill, 0)))
    session.close()
    result = {"prefill_tok_s": prefill / statistics.median(seconds[1:]), "decode": []}

    for n in batches:
        session = Session(model, n, context + steps, threads)
        seconds = []
        for _ in range(repeats + 1):
            session.clear()
            for s in range(n):
                session.run(prompt(context, s))
            seconds.append(sum(session.run([(token_at(context + i, s), context + i, s, 1) for s in range(n)]) for i in range(steps)))
        session.close()
        result["decode"].append({"batch": n, "tok_s": n * steps / statistics.median(seconds[1:])})
    result["version"] = "llama-cpp-python " + llama.__version__
    result["device"] = llama.llama_print_system_info().decode().strip()
    print(json.dumps(result))


def quantize(source, target, ftype):
    params = llama.llama_model_quantize_default_params()
    params.ftype = int(ftype)
    params.allow_requantize = True
    if llama.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)) != 0:
        sys.exit(f"llama.cpp cannot convert {source} to file type {ftype}")


if __name__ == "__main__":
    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    llama.llama_backend_init()
    if sys.argv[1] == "quantize":
        quantize(*sys.argv[2:5])
    else:
        measure(sys.argv[2], *map(int, sys.argv[3:]))
