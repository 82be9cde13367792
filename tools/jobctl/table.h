// Tables for people: aligned columns on standard output.
#pragma once

#include <string>
#include <vector>

namespace parkd::jobctl {

// The first row is the heading.
void print_table(const std::vector<std::vector<std::string>>& rows);

// `text` without what would break a line of a table.
std::string one_line(std::string text);

}  // namespace parkd::jobctl
