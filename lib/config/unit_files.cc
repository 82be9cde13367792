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
  fs::path unit;  // empty: it is not installed
  bool limits_families = false;
  bool lets_inet_in = false;
  bool denies_addresses = false;
  bool allows_addresses = false;  // others than this machine's own
};

void read_unit(const fs::path& path, Said& said) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("RestrictAddressFamilies=")) {
      said.limits_families = true;
      if (line.find("AF_INET") != line.npos) said.lets_inet_in = true;
    }
    if (line.starts_with("IPAddressDeny=")) said.denies_addresses = true;
    if (line.starts_with("IPAddressAllow=") && line != "IPAddressAllow=localhost") {
      said.allows_addresses = true;
    }
  }
}

Said read_units(const std::string& root) {
  std::error_code none;
  Said said;
  fs::path& unit = said.unit;
  for (const std::string_view folder : kFolders) {
    const fs::path path = root + std::string(folder) + std::string(kUnit);
    if (unit.empty() && fs::is_regular_file(path, none)) unit = path;
    for (const auto& drop_in : fs::directory_iterator(path.string() + ".d", none)) {
      if (drop_in.path().extension() == ".conf") read_unit(drop_in.path(), said);
    }
  }
  if (!unit.empty()) read_unit(unit, said);
  return said;
}

}  // namespace

std::string unit_keeps_webhooks_in(const std::string& root) {
  const Said said = read_units(root);
  const bool no_family = said.limits_families && !said.lets_inet_in;
  const bool no_address = said.denies_addresses && !said.allows_addresses;
  if (said.unit.empty() || (!no_family && !no_address)) return "";
  return "daemon.webhooks: " + said.unit.string() +
         " lets parkd reach no other machine: install the drop-in webhook.conf (README, "
         "\"Webhooks\") as /etc/systemd/system/parkd.service.d/webhook.conf, then systemctl "
         "daemon-reload";
}

std::string unit_keeps_tcp_out(const std::string& root) {
  const Said said = read_units(root);
  if (said.unit.empty() || !said.limits_families || said.lets_inet_in) return "";
  return "daemon.listen: " + said.unit.string() +
         " lets parkd have no TCP: install the drop-in tcp.conf (README, \"TCP\") as "
         "/etc/systemd/system/parkd.service.d/tcp.conf, then systemctl daemon-reload";
}

}  // namespace parkd
