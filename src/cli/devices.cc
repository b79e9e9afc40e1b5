#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "backend/cpu/cpu_ops.h"
#include "backend/cuda/cuda_backend.h"
#include "cli/commands.h"
#include "cli/session.h"

namespace octet {
namespace {

double gibibytes(int64_t bytes) {
  return static_cast<double>(bytes) / (1 << 30);
}

void print_text(const BackendInfo& cpu, const Result<std::vector<CudaDevice>>& gpus) {
  std::printf("cpu     usable      %s, %.1f GiB free\n", cpu.device.c_str(), gibibytes(cpu.memory_available));
  if (!gpus.ok()) {
    std::printf("cuda    not usable  %s\n", gpus.status().message().c_str());
    return;
  }
  for (const CudaDevice& gpu : *gpus) {
    std::printf("cuda:%d  %s  %s, %d multiprocessors, %.1f of %.1f GiB free%s%s\n", gpu.index,
                gpu.problem.empty() ? "usable    " : "not usable", gpu.name.c_str(), gpu.multiprocessors,
                gibibytes(gpu.memory_free), gibibytes(gpu.memory_total), gpu.problem.empty() ? "" : "; ",
                gpu.problem.c_str());
  }
}

void print_json(const BackendInfo& cpu, const Result<std::vector<CudaDevice>>& gpus) {
  nlohmann::ordered_json json;
  json["devices"].push_back(
      {{"backend", "cpu"}, {"usable", true}, {"name", cpu.device}, {"memory_free", cpu.memory_available}});
  if (!gpus.ok()) {
    json["devices"].push_back({{"backend", "cuda"}, {"usable", false}, {"problem", gpus.status().message()}});
  } else {
    for (const CudaDevice& gpu : *gpus) {
      nlohmann::ordered_json device = {
          {"backend", "cuda"},
          {"usable", gpu.problem.empty()},
          {"name", gpu.name},
          {"index", gpu.index},
          {"compute_capability", std::to_string(gpu.major) + "." + std::to_string(gpu.minor)},
          {"multiprocessors", gpu.multiprocessors},
          {"memory_free", gpu.memory_free},
          {"memory_total", gpu.memory_total}};
      if (!gpu.problem.empty()) device["problem"] = gpu.problem;
      json["devices"].push_back(device);
    }
  }
  std::printf("%s\n", json.dump(2).c_str());
}

int run(bool json) {
  const auto cpu = make_cpu_ops({});
  if (!cpu.ok()) return fail(cpu.status());
  (json ? print_json : print_text)((*cpu)->info(), cuda_devices());
  return 0;
}

}  // namespace

void add_devices(CLI::App& app, Action& action) {
  auto* command =
      app.add_subcommand("devices", "List what a model can run on, and why something cannot be used");
  auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "print JSON");
  command->footer("Example:\n  octet devices");
  command->callback([json, &action] { action = [json] { return run(*json); }; });
}

}  // namespace octet
