// The measurements of `octet bench` that have a file of their own.
#pragma once

#include "cli/commands.h"

namespace octet {

void add_bench_sweep(CLI::App& bench, Action& action);
void add_bench_kernels(CLI::App& bench, Action& action);
void add_bench_startup(CLI::App& bench, Action& action);
void add_bench_serve(CLI::App& bench, Action& action);

}  // namespace octet
