#include "backend/cpu/huge_pages.h"

#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace octet {
namespace {

constexpr size_t kPage = size_t{2} << 20;
constexpr size_t kChunk = 16 * kPage;
constexpr size_t kLine = 64;

std::shared_ptr<char> allocate_chunk(size_t bytes) {
  const size_t whole = (bytes + kPage - 1) / kPage * kPage;
  auto* memory = static_cast<char*>(std::aligned_alloc(kPage, whole));
  if (memory == nullptr) return nullptr;
#if defined(__linux__)
  madvise(memory, whole, MADV_HUGEPAGE);  // a wish: small pages work too
#endif
  return {memory, std::free};
}

}  // namespace

std::shared_ptr<char> HugePages::allocate(size_t bytes) {
  if (bytes >= kChunk / 2) return allocate_chunk(bytes);
  const size_t size = (bytes + kLine - 1) / kLine * kLine;
  const std::lock_guard lock(mutex_);
  if (chunk_ == nullptr || used_ + size > kChunk) {
    chunk_ = allocate_chunk(kChunk);
    used_ = 0;
    if (chunk_ == nullptr) return nullptr;
  }
  used_ += size;
  return {chunk_, chunk_.get() + used_ - size};
}

}  // namespace octet
