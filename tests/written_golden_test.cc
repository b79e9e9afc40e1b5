// What `octet quantize` writes, as transformers (with compressed-tensors, with bitsandbytes) loads and
// computes it in float32: tools/judge_transformers.py stored those logits. Here the same checkpoints are
// written anew and run.
#include <gtest/gtest.h>

#include "backend/cpu/cpu_ops.h"
#include "backend/reference/reference_ops.h"
#include "formats/checkpoint.h"
#include "model/test_util.h"
#include "quantize/quantize.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

constexpr char kSource[] = "tests/golden/models/llama31";

// `kl` bounds the divergence of the reference, everything else in float32: of weights alone because their
// inputs (and those of the head) are rounded to bfloat16 here, 2^-9 relative, of fp8 because nothing differs.
//   0: codes of inputs are rounded anew. The divisor of a dynamic int8 scale is 127 here and 127.5 there;
//   bitsandbytes
//      computes in float16 and takes outliers by columns. Two roundings of one size, independent of each
//      other, are apart by twice the divergence from 16 bits that each has.
struct Case {
  const char* name;
  QuantizeOptions options;
  double kl;
};

QuantizeOptions options(const char* scheme, bool head = false) {
  QuantizeOptions o;
  o.scheme = scheme;
  o.quantize_head = head;
  return o;
}

QuantizeOptions mixed() {
  QuantizeOptions o = options("int8-minmax");
  o.overrides = {"mlp=fp8", "o_proj=w8a16"};
  o.exclude = "layers\\.0\\.";
  return o;
}

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

class Written : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / (std::string("octet_written_") + GetParam().name);
    fs::remove_all(folder_);
    const auto source = Checkpoint::open(kSource);
    ASSERT_TRUE(source.ok()) << source.status().message();
    const auto report = quantize_checkpoint(**source, GetParam().options, folder_.string());
    ASSERT_TRUE(report.ok()) << report.status().message();
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Of transformers' logits from those in 16 bits, doubled, with half as much again for what small samples
  // do.
  static double rounding_apart() {
    const auto plain = test::read_golden(kSource), written = golden();
    EXPECT_TRUE(plain.ok() && written.ok());
    if (!plain.ok() || !written.ok()) return 0;
    const size_t vocab = plain->logits.size() / plain->ids.size();
    return 3 * test::mean_kl(plain->logits, written->logits, vocab);
  }

  static Result<test::Golden> golden() {
    return test::read_golden_file(std::string("tests/golden/written/") + GetParam().name + ".safetensors");
  }

  double divergence(std::unique_ptr<Ops> ops, const std::string& kv) const {
    const auto golden = Written::golden();
    EXPECT_TRUE(golden.ok()) << golden.status().message();
    ModelOptions o;
    o.kv_dtype = kv;
    o.max_batch = 2;
    o.max_step_tokens = 64;
    o.max_context = 256;
    auto model = Model::load(std::move(Checkpoint::open(folder_.string())).value(), std::move(ops), o);
    EXPECT_TRUE(model.ok()) << model.status().message();
    if (!golden.ok() || !model.ok()) return INFINITY;
    const std::vector<int32_t> ids(golden->ids.begin(), golden->ids.end());
    const auto logits = test::Feeder(**model).logits(ids, 30);
    EXPECT_EQ(logits.size(), golden->logits.size());
    return test::mean_kl(golden->logits, logits, static_cast<size_t>((*model)->config().vocab_size));
  }

  fs::path folder_;
};

TEST_P(Written, TransformersComputesTheSame) {
  const double exact = GetParam().kl, apart = rounding_apart();
  EXPECT_LT(divergence(make_reference_ops(), "f32"), exact > 0 ? exact : apart);
  // The CPU's cache is bfloat16, which rounds codes anew where inputs are 8 bit.
  EXPECT_LT(divergence(std::move(make_cpu_ops({2, "auto"})).value(), "auto"), std::max(2 * exact, apart));
}

INSTANTIATE_TEST_SUITE_P(
    Schemes, Written,
    testing::Values(Case{"int8-minmax", options("int8-minmax"), 0}, Case{"fp8", options("fp8", true), 1e-7},
                    Case{"w8a16", options("w8a16"), 1.5e-4}, Case{"w8a16-fp8", options("w8a16-fp8"), 1.5e-4},
                    Case{"w4a16", options("w4a16:32"), 1.5e-4}, Case{"mixed", mixed(), 0},
                    Case{"llm-int8", options("llm-int8:3"), 0}),
    [](const auto& info) {
      std::string name = info.param.name;
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

}  // namespace
}  // namespace octet
