#include <cstdio>
#include <fstream>
#include <sstream>

#include <unistd.h>

#include "backend/cuda/kernels/gemm_tuning.h"

namespace octet::cuda {
namespace {

const std::string kHeader = "octet gemm plans " + std::to_string(kGemmPlansVersion);

const char* type_name(QType type) {
  switch (type) {
    case QType::kFp8:
      return "fp8";
    case QType::kInt8:
      return "int8";
    case QType::kBF16:
      return "bf16";
    case QType::kF16:
      return "fp16";
    default:
      return "f32";
  }
}

Result<QType> type_by_name(const std::string& name) {
  for (const QType type : {QType::kFp8, QType::kInt8, QType::kBF16, QType::kF16})
    if (name == type_name(type)) return type;
  return invalid_argument("'" + name + "' is no operand type");
}

}  // namespace

PlannedGemm GemmPlans::find(QType type, int64_t m, int64_t n, int64_t k) const {
  const auto tuned = plans_.find({type, n, k, gemm_bucket(m)});
  if (tuned != plans_.end()) return tuned->second;
  const GemmProblem p = problem(type, m, n, k);
  const GemmPlan plan = plan_gemm(p);
  return {plan, estimate_gemm(plan, p)};
}

std::string GemmPlans::mode() const {
  return std::string(batch_invariant_ ? "batch invariant" : "fastest") + (promote_ ? ", promoted" : "");
}

void GemmPlans::set(const GemmShape& shape, int64_t bucket, const GemmPlan& plan, float us) {
  plans_[{shape.type, shape.n, shape.k, bucket}] = {plan, us};
}

bool GemmPlans::has(const GemmShape& shape, int64_t bucket) const {
  return plans_.contains({shape.type, shape.n, shape.k, bucket});
}

void GemmPlans::merge(const GemmPlans& other) {
  for (const auto& [key, entry] : other.plans_) plans_[key] = entry;
}

Status GemmPlans::load(const std::string& path, const std::string& device) {
  std::ifstream file(path);
  if (!file) return not_found(path + ": there is no such file of plans");
  const auto wrong = [&](int line, const std::string& what) {
    return invalid_argument(path + ":" + std::to_string(line) + ": " + what +
                            ": delete the file, plans are found anew");
  };
  const std::string wanted[3] = {kHeader, device, mode()};
  std::string line;
  int number = 0;
  for (const std::string& expected : wanted) {
    ++number;
    if (!std::getline(file, line) || line != expected)
      return wrong(number, "expected '" + expected + "', found '" + line.substr(0, 60) + "'");
  }
  auto plans = plans_;
  while (std::getline(file, line)) {
    ++number;
    std::istringstream fields(line);
    std::string type_text, text;
    int64_t n = 0, k = 0, bucket = 0;
    float us = 0;
    if (!(fields >> type_text >> n >> k >> bucket >> us) || !std::getline(fields >> std::ws, text) ||
        n <= 0 || k <= 0 || bucket != gemm_bucket(bucket))
      return wrong(number, "'" + line.substr(0, 60) + "' is no plan");
    const auto type = type_by_name(type_text);
    if (!type.ok()) return wrong(number, type.status().message());
    const auto plan = parse_gemm_plan(text);
    if (!plan.ok()) return wrong(number, plan.status().message());
    plans[{type.value(), n, k, bucket}] = {plan.value(), us};
  }
  plans_ = std::move(plans);
  return {};
}

Status GemmPlans::save(const std::string& path, const std::string& device) const {
  const std::string beside = path + "." + std::to_string(getpid());
  std::ofstream file(beside, std::ios::trunc);
  file << kHeader << '\n' << device << '\n' << mode() << '\n';
  for (const auto& [key, entry] : plans_) {
    const auto& [type, n, k, bucket] = key;
    file << type_name(type) << ' ' << n << ' ' << k << ' ' << bucket << ' ' << entry.us << ' '
         << to_string(entry.plan) << '\n';
  }
  file.close();
  if (!file || std::rename(beside.c_str(), path.c_str()) != 0) {
    std::remove(beside.c_str());
    return invalid_argument(path +
                            ": the plans cannot be written there; give another file, or --kernel-plans off");
  }
  return {};
}

std::string GemmPlans::describe(const GemmShape& shape) const {
  std::string line = std::string(type_name(shape.type)) + " " + std::to_string(shape.n) + "x" +
                     std::to_string(shape.k) + ":";
  for (const auto& [key, entry] : plans_) {
    const auto& [type, n, k, bucket] = key;
    if (type != shape.type || n != shape.n || k != shape.k) continue;
    char text[160];
    std::snprintf(text, sizeof text, " m<=%lld %s %.1f us;", static_cast<long long>(bucket),
                  to_string(entry.plan).c_str(), static_cast<double>(entry.us));
    line += text;
  }
  return line;
}

}  // namespace octet::cuda
