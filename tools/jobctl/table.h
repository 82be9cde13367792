// What people read: aligned columns on standard output, and text of others on a terminal.
#pragma once

#include <unistd.h>

#include <string>
#include <string_view>
#include <vector>

namespace parkd::jobctl {

// The first row is the heading. Each cell is one line (one_line).
void print_table(std::vector<std::vector<std::string>> rows);

// `text` without what would break a line of a table.
std::string one_line(std::string text);

// `text` with what a terminal would obey written as \x1b, \u009b, \u202e: control characters (but
// newline and tab), what turns the direction of writing, and bytes that are not UTF-8.
std::string escape_controls(std::string_view text);
// The same where the descriptor is a terminal; elsewhere `text` as it is.
std::string for_reader(std::string_view text, int descriptor = STDOUT_FILENO);

}  // namespace parkd::jobctl
