// Files that appear whole or not at all: written under a temporary name, renamed by commit(), removed
// otherwise.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace octet {

class FileOutput {
 public:
  // Creates "<path>.partial". kResourceExhausted where the disk is full, kInvalidArgument for other errors.
  static Result<FileOutput> create(const std::string& path);
  FileOutput(FileOutput&& other) noexcept;
  FileOutput& operator=(FileOutput&&) = delete;
  ~FileOutput();

  // Bytes at an offset; gaps that are never written read as zeros.
  Status write_at(uint64_t offset, std::span<const uint8_t> bytes);
  Status commit();

 private:
  FileOutput(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  std::string path_;
  int fd_ = -1;  // -1: committed or moved from
};

// The error that write_text_file would give for one of these, before minutes are spent on what is to be
// written. Empty paths are none.
Status check_outputs(std::initializer_list<std::string> paths);

Status write_text_file(const std::string& path, std::string_view text);

}  // namespace octet
