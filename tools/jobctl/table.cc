#include "tools/jobctl/table.h"

#include <algorithm>
#include <iomanip>
#include <iostream>

namespace parkd::jobctl {

std::string one_line(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  }
  return text;
}

void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const bool last = i + 1 == row.size();
      std::cout << std::left << std::setw(last ? 0 : static_cast<int>(widths[i] + 2)) << row[i];
    }
    std::cout << "\n";
  }
}

}  // namespace parkd::jobctl
