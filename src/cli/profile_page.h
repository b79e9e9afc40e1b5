// A profile as a page: stacked bars of a step's parts, over batch size and over context length.
#pragma once

#include "bench/profile.h"
#include "report/report_page.h"

namespace octet {

ReportPage profile_page(const ProfileReport& report, const std::string& command);

}  // namespace octet
