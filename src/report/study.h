// The pictures and tables of a study of schemes, made from whatever results there are: throughput beside its
// limit, time to first token, where a step's time goes, quality, and speed against quality.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "report/figure.h"
#include "report/report_page.h"
#include "report/results.h"

namespace octet {

// A model's shape by the name in a result; nothing where it is not known, and then there is no limit either.
using ShapeOf = std::function<std::optional<ModelShape>(const std::string& model)>;

// What a picture could not be made for, and the command that measures it.
struct MissingPart {
  std::string what, command;
};

struct Study {
  std::vector<ReportSection> sections;  // each chart drawn from the figure of the same id
  std::vector<Figure> figures;
  std::vector<MissingPart> missing;
};

Study make_study(const Results& results, const ShapeOf& shape_of);

// The whole page; `command` made it.
ReportPage study_page(const Study& study, const Results& results, const std::string& command);

}  // namespace octet
