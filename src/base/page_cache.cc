#include "base/page_cache.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace octet {
namespace {

class OpenFile {
 public:
  explicit OpenFile(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~OpenFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

Status no_such_file(const std::string& path) {
  return not_found(path + ": cannot be opened (" + std::strerror(errno) + ")");
}

}  // namespace

Status drop_from_page_cache(const std::vector<std::string>& files) {
  for (const std::string& path : files) {
    const OpenFile file(path);
    if (file.fd() < 0) return no_such_file(path);
    ::fdatasync(file.fd());  // pages that are not written yet would stay
    ::posix_fadvise(file.fd(), 0, 0, POSIX_FADV_DONTNEED);
  }
  return {};
}

Result<double> page_cache_share(const std::vector<std::string>& files) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  size_t cached = 0, all = 0;
  for (const std::string& path : files) {
    const OpenFile file(path);
    struct stat info = {};
    if (file.fd() < 0 || ::fstat(file.fd(), &info) != 0) return no_such_file(path);
    const auto bytes = static_cast<size_t>(info.st_size);
    if (bytes == 0) continue;
    void* const mapped = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.fd(), 0);
    if (mapped == MAP_FAILED) return no_such_file(path);
    std::vector<unsigned char> pages((bytes + page - 1) / page);
    const bool told = ::mincore(mapped, bytes, pages.data()) == 0;
    ::munmap(mapped, bytes);
    if (!told) return internal_error(path + ": the system does not tell what it holds in memory");
    all += pages.size();
    for (const unsigned char p : pages) cached += p & 1;
  }
  return all == 0 ? 0.0 : static_cast<double>(cached) / static_cast<double>(all);
}

}  // namespace octet
