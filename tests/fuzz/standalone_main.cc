// Runs a fuzz target without libFuzzer, so that any compiler can: every seed as it is, then seeds mutated by
// a generator with a fixed start, for a fixed time. Takes the options of libFuzzer that the tests use:
//
//   octet_fuzz_x [-max_total_time=SECONDS] [-seed=N] [-artifact_prefix=PREFIX] [FILE or FOLDER]...
//
// An input that ends the program is written to PREFIXcrash first; give that file as an argument to run it
// alone.
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <sanitizer/common_interface_defs.h>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kMaxSize = 64 * 1024;

// What is running now, for the handlers below: they have no argument to get it by.
const Bytes* running = nullptr;
std::string crash_file = "crash";

void save_input() {
  if (running == nullptr) return;
  if (std::FILE* file = std::fopen(crash_file.c_str(), "wb")) {
    std::fwrite(running->data(), 1, running->size(), file);
    std::fclose(file);
    std::fprintf(stderr, "input of %zu bytes written to %s\n", running->size(), crash_file.c_str());
  }
  running = nullptr;
}

void on_abort(int) {
  save_input();
  std::signal(SIGABRT, SIG_DFL);
  std::abort();
}

void run(const Bytes& input) {
  // A copy of exactly this size on the heap: AddressSanitizer then sees a read past its end.
  const Bytes copy(input.begin(), input.end());
  running = &copy;
  LLVMFuzzerTestOneInput(copy.data(), copy.size());
  running = nullptr;
}

Bytes read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  size_t below(size_t n) { return n == 0 ? 0 : random_() % n; }

  Bytes mutate(const std::vector<Bytes>& seeds) {
    Bytes bytes = seeds[below(seeds.size())];
    const size_t steps = size_t{1} << below(5);
    for (size_t i = 0; i < steps; ++i) step(bytes, seeds[below(seeds.size())]);
    if (bytes.size() > kMaxSize) bytes.resize(kMaxSize);
    return bytes;
  }

 private:
  void step(Bytes& bytes, const Bytes& other) {
    const size_t at = below(bytes.size() + 1);
    const size_t rest = bytes.size() - at;
    const auto place = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    switch (below(8)) {
      case 0:  // flip a bit
        if (rest > 0) *place ^= static_cast<uint8_t>(1u << below(8));
        break;
      case 1:  // any byte
        if (rest > 0) *place = static_cast<uint8_t>(below(256));
        break;
      case 2:  // insert a byte
        bytes.insert(place, static_cast<uint8_t>(below(256)));
        break;
      case 3:  // cut the end off
        if (below(8) == 0) bytes.resize(at);
        break;
      case 4:  // remove a run
        bytes.erase(place, place + static_cast<std::ptrdiff_t>(below(std::min<size_t>(rest, 16) + 1)));
        break;
      case 5: {  // a number at a border, of 1, 2, 4 or 8 bytes
        static constexpr uint64_t kNumbers[] = {0,          1,          0x7f,       0x80,       0xff,
                                                0x7fff,     0xffff,     0x7fffffff, 0x80000000, 0xffffffff,
                                                1ull << 32, 1ull << 40, ~0ull >> 1, ~0ull,      ~0ull - 7};
        const uint64_t number = kNumbers[below(std::size(kNumbers))];
        const size_t width = std::min(rest, size_t{1} << below(4));
        if (width > 0) std::memcpy(&*place, &number, width);
        break;
      }
      case 6:  // a run repeated
        if (rest > 0) {
          const Bytes run(place, place + static_cast<std::ptrdiff_t>(below(std::min<size_t>(rest, 64)) + 1));
          for (size_t n = size_t{1} << below(6); n > 0 && bytes.size() < kMaxSize; --n) {
            bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), run.begin(), run.end());
          }
        }
        break;
      case 7:  // a piece of another seed
        if (!other.empty()) {
          const size_t from = below(other.size());
          const size_t n = below(std::min<size_t>(other.size() - from, 256)) + 1;
          const auto begin = other.begin() + static_cast<std::ptrdiff_t>(from);
          bytes.insert(place, begin, begin + static_cast<std::ptrdiff_t>(std::min(n, other.size() - from)));
        }
        break;
    }
  }

  std::mt19937_64 random_;
};

}  // namespace

int main(int argc, char** argv) {
  double seconds = 0;
  uint64_t seed = 1;
  std::vector<Bytes> seeds;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    const std::string value(arg.substr(std::min(arg.find('=') + 1, arg.size())));
    if (arg.starts_with("-max_total_time=")) {
      seconds = std::stod(value);
    } else if (arg.starts_with("-seed=")) {
      seed = std::stoull(value);
    } else if (arg.starts_with("-artifact_prefix=")) {
      crash_file = value + "crash";
    } else if (arg.starts_with("-")) {
      continue;  // libFuzzer's other options
    } else if (std::filesystem::is_directory(arg)) {
      for (const auto& entry : std::filesystem::directory_iterator(arg))
        seeds.push_back(read_file(entry.path()));
    } else {
      seeds.push_back(read_file(arg));
    }
  }
  __sanitizer_set_death_callback(save_input);
  std::signal(SIGABRT, on_abort);

  for (const Bytes& input : seeds) run(input);
  const size_t n_seeds = seeds.size();
  seeds.emplace_back();

  using Clock = std::chrono::steady_clock;
  const auto end =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  Mutator mutator(seed);
  size_t runs = 0;
  while (Clock::now() < end) {
    for (int i = 0; i < 16; ++i, ++runs) run(mutator.mutate(seeds));
  }
  std::printf("%zu seeds and %zu mutations of them: no crash\n", n_seeds, runs);
  return 0;
}
