// A reader for each kind of result; `where` and `file` begin the errors.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "report/results.h"

namespace octet {

// "file: rows[3]"
std::string item(const std::string& file, const char* list, size_t index);

Status add_speed(const nlohmann::json& row, const std::string& where, Results& results);  // a run
Status add_table(const nlohmann::json& whole, const std::string& file,
                 Results& results);  // tools/gpu/table.py: medians of a sweep
Status add_rival(const nlohmann::json& whole, const std::string& file,
                 Results& results);  // another engine's figures, by workload, max batch and scheme
Status add_profile(const nlohmann::json& whole, const std::string& file, Results& results);  // octet profile
Status add_quality(const nlohmann::json& whole, const std::string& file,
                   Results& results);  // octet eval compare

}  // namespace octet
