#include "lib/config/unit_files.h"

#include <filesystem>
#include <fstream>
#include <string_view>
#include <vector>

namespace parkd {
namespace {

namespace fs = std::filesystem;

// Where systemd looks; the first that has the unit has it for all (systemd.unit(5)).
constexpr std::string_view kFolders[] = {"/etc/systemd/system", "/run/systemd/system",
                                         "/usr/local/lib/systemd/system",
                                         "/usr/lib/systemd/system"};
constexpr std::string_view kUnit = "/parkd.service";

struct Said {
  bool limits_families = false;
  bool lets_inet_in = false;
};

void read_unit(const fs::path& path, Said& said) {
  constexpr std::string_view kKey = "RestrictAddressFamilies=";
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, kKey.size(), kKey) != 0) continue;
    said.limits_families = true;
    if (line.find("AF_INET") != line.npos) said.lets_inet_in = true;
  }
}

}  // namespace

std::string unit_keeps_tcp_out(const std::string& root) {
  std::error_code none;
  Said said;
  fs::path unit;
  for (const std::string_view folder : kFolders) {
    const fs::path path = root + std::string(folder) + std::string(kUnit);
    if (unit.empty() && fs::is_regular_file(path, none)) unit = path;
    for (const auto& drop_in : fs::directory_iterator(path.string() + ".d", none)) {
      if (drop_in.path().extension() == ".conf") read_unit(drop_in.path(), said);
    }
  }
  if (unit.empty()) return "";
  read_unit(unit, said);
  if (!said.limits_families || said.lets_inet_in) return "";
  return "daemon.listen: " + unit.string() +
         " lets parkd have no TCP: install the drop-in tcp.conf (README, \"TCP\") as "
         "/etc/systemd/system/parkd.service.d/tcp.conf, then systemctl daemon-reload";
}

}  // namespace parkd
