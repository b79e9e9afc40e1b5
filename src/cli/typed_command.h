// The command as it was typed, for files and pages to say what made them.
#pragma once

#include <string>

namespace octet {

// Once, when the program starts.
void remember_command(int argc, char** argv);
// "octet report sweep.jsonl -o 'my report.html'": a line that a shell takes, whatever the program's path was.
const std::string& typed_command();

}  // namespace octet
