#include "tests/gpu/probe/figures.h"

#include <cstdio>

namespace parkd::probe {

const simulate::DeviceSheet* sheet_of(const std::string& device_name) {
  for (const simulate::DeviceSheet& sheet : simulate::device_sheets()) {
    if (device_name.find(sheet.name) != std::string::npos) return &sheet;
  }
  return nullptr;
}

namespace {

std::string text_of(double value) {
  char text[32];
  std::snprintf(text, sizeof text, value >= 100 ? "%.0f" : "%.3g", value);
  return text;
}

}  // namespace

void Figures::print_line(const std::string& name, double seen, std::optional<double> expected,
                         const char* unit) {
  std::printf("figure\t%s\t%s\t%s\t%s\n", name.c_str(), text_of(seen).c_str(),
              expected ? text_of(*expected).c_str() : "-", unit);
  std::fflush(stdout);
}

}  // namespace parkd::probe
