#include "eval/journal.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/mapped_file.h"

namespace octet {
namespace {

using nlohmann::json;

constexpr const char* kRemedy = "delete it to begin anew, or choose another --output";

Status cannot_write(const std::string& path) {
  const std::string message = path + ": cannot write: " + std::strerror(errno);
  return errno == ENOSPC ? resource_exhausted(message) : invalid_argument(message);
}

// The first field in which two descriptions differ, for the message.
std::string difference(const json& ours, const json& theirs) {
  for (const auto& [key, value] : ours.items()) {
    if (!theirs.contains(key)) return fmt::format("'{}' is not in it", key);
    if (theirs[key] != value)
      return fmt::format("its {} is {}, this run's is {}", key, theirs[key].dump(), value.dump());
  }
  return "it has fields that this run has not";
}

Status write_all(int fd, const std::string& path, const std::string& text) {
  size_t written = 0;
  while (written < text.size()) {
    const ssize_t n = ::write(fd, text.data() + written, text.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return cannot_write(path);
    written += static_cast<size_t>(n);
  }
  return {};
}

}  // namespace

Result<Journal> Journal::open(const std::string& path, const json& run) {
  if (path.empty()) return Journal("", -1);
  std::string text;
  if (std::filesystem::exists(path)) {
    OCTET_ASSIGN_OR_RETURN(text, read_text_file(path, size_t{1} << 30));
  }
  std::map<std::string, json> done;
  size_t whole = 0;  // bytes of complete lines
  for (size_t end; (end = text.find('\n', whole)) != std::string::npos; whole = end + 1) {
    const json line =
        json::parse(text.begin() + static_cast<ptrdiff_t>(whole), text.begin() + static_cast<ptrdiff_t>(end),
                    nullptr, /*allow_exceptions=*/false);
    const bool header = whole == 0;
    if (!line.is_object() || !line.contains(header ? "run" : "unit") ||
        (!header && !line["unit"].is_string())) {
      return corrupt(fmt::format("{}: is no state of an evaluation; {}", path, kRemedy));
    }
    if (header && line["run"] != run) {
      return invalid_argument(fmt::format("{}: is the state of another run: {}; {}", path,
                                          difference(run, line["run"]), kRemedy));
    }
    if (!header) done[line["unit"].get<std::string>()] = line.value("result", json());
  }
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return cannot_write(path);
  Journal journal(path, fd);
  journal.done_ = std::move(done);
  if (::ftruncate(fd, static_cast<off_t>(whole)) != 0 || ::lseek(fd, 0, SEEK_END) < 0)
    return cannot_write(path);
  if (whole == 0) OCTET_RETURN_IF_ERROR(write_all(fd, path, json{{"run", run}}.dump() + "\n"));
  return journal;
}

Journal::Journal(Journal&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), done_(std::move(other.done_)) {}

Journal::~Journal() {
  if (fd_ >= 0) ::close(fd_);
}

Status Journal::append(const std::string& unit, const json& result) {
  if (fd_ < 0) return {};
  return write_all(fd_, path_, json{{"unit", unit}, {"result", result}}.dump() + "\n");
}

void Journal::remove() {
  if (fd_ < 0) return;
  ::close(std::exchange(fd_, -1));
  ::unlink(path_.c_str());
}

}  // namespace octet
