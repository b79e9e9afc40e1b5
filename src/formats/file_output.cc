#include "formats/file_output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace octet {
namespace {

std::string partial_name(const std::string& path) {
  return path + ".partial";
}

Status failure(const std::string& path, const char* what, int error) {
  std::string message = path + ": cannot " + what + ": " + std::strerror(error);
  if (error == ENOSPC || error == EDQUOT) {
    return resource_exhausted(message + "; free some space or write to another disk");
  }
  return invalid_argument(std::move(message));
}

}  // namespace

Result<FileOutput> FileOutput::create(const std::string& path) {
  const int fd = ::open(partial_name(path).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return failure(path, "create the file", errno);
  return FileOutput(path, fd);
}

FileOutput::FileOutput(FileOutput&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

FileOutput::~FileOutput() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(partial_name(path_).c_str());
}

Status FileOutput::write_at(uint64_t offset, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      return failure(path_, "write to the file", errno);
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return {};
}

Status FileOutput::commit() {
  const int fd = std::exchange(fd_, -1);
  const bool closed = ::close(fd) == 0;  // some file systems report a full disk here
  if (closed && std::rename(partial_name(path_).c_str(), path_.c_str()) == 0) return {};
  const int error = errno;
  ::unlink(partial_name(path_).c_str());
  return failure(path_, "finish the file", error);
}

Status check_outputs(std::initializer_list<std::string> paths) {
  for (const std::string& path : paths) {
    if (path.empty()) continue;
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored)) return failure(path, "create the file", EISDIR);
    OCTET_RETURN_IF_ERROR(FileOutput::create(path).status());
  }
  return {};
}

Status write_text_file(const std::string& path, std::string_view text) {
  OCTET_ASSIGN_OR_RETURN(auto file, FileOutput::create(path));
  OCTET_RETURN_IF_ERROR(file.write_at(0, {reinterpret_cast<const uint8_t*>(text.data()), text.size()}));
  return file.commit();
}

}  // namespace octet
