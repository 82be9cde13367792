#include "lib/config/read_tcp.h"

#include <algorithm>

#include "lib/config/values.h"

namespace parkd {
namespace {

constexpr size_t kAddressesMax = 16;
constexpr size_t kHostNamesMax = 64;
constexpr size_t kHostBytesMax = 253;  // RFC 1035
constexpr size_t kShown = 64;

std::string shown(const std::string& text) {
  return "value \"" + text.substr(0, kShown) + (text.size() > kShown ? "...\"" : "\"");
}

void read_listen(const YamlSection& section, DaemonConfig& daemon) {
  if (!section.has_value("listen")) return;
  for (const std::string& text : section.text_or_texts("listen", kAddressesMax)) {
    const auto address = read_tcp_address(text);
    if (!address.ok()) {
      section.fail("listen", shown(text) + " " + address.status().message());
      return;
    }
    const auto& known = daemon.listen;
    if (address->port != 0 && std::find(known.begin(), known.end(), *address) != known.end()) {
      section.fail("listen", shown(text) + " is there twice");
    }
    daemon.listen.push_back(*address);
  }
}

void read_host_names(const YamlSection& section, DaemonConfig& daemon) {
  if (!section.has_value("host_names")) return;
  for (std::string name : section.text_or_texts("host_names", kHostNamesMax)) {
    if (!is_word_of(name, ".-", kHostBytesMax)) {
      section.fail("host_names", shown(name) +
                                     " is not a host name (1 .. 253 letters, digits, . -; "
                                     "no port)");
    }
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    daemon.host_names.push_back(std::move(name));
  }
}

// TCP says nothing of who is at the other end.
void check_who_comes(const YamlSection& section, const DaemonConfig& daemon) {
  if (!daemon.tokens_file.empty() && !daemon.listen_tenant.empty()) {
    return section.fail(
        "listen_tenant",
        "is given beside tokens_file: either each request by TCP has a token, or all "
        "are this tenant's. Remove one of them");
  }
  if (daemon.listen.empty()) return;
  if (daemon.tokens_file.empty() && daemon.listen_tenant.empty()) {
    return section.fail(
        "listen",
        "needs tokens_file, which says whose token is whose (jobctl token new TENANT --file FILE "
        "makes one), or, on a loopback address of a machine of one person, listen_tenant");
  }
  for (const TcpAddress& address : daemon.listen) {
    if (daemon.listen_tenant.empty() || address.is_loopback()) continue;
    section.fail("listen_tenant", "lets whoever reaches " + address.to_string() +
                                      " act as it, which other machines may: listen on a loopback "
                                      "address (127.0.0.1, [::1]) alone, or give tokens_file");
  }
}

}  // namespace

void read_tcp(const YamlSection& section, DaemonConfig& daemon) {
  read_listen(section, daemon);
  daemon.tokens_file = nullable_path(section, "tokens_file").value_or("");
  if (section.has_value("listen_tenant")) {
    daemon.listen_tenant = section.text("listen_tenant", 4096).value_or("");
    if (!daemon.listen_tenant.empty() && !is_tenant(daemon.listen_tenant)) {
      section.fail_value("listen_tenant", kTenantRule);
    }
  }
  read_host_names(section, daemon);
  check_who_comes(section, daemon);
}

}  // namespace parkd
