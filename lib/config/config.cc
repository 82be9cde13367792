#include "lib/config/config.h"

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <system_error>

#include "lib/config/keys.h"
#include "lib/config/kv_capacity.h"
#include "lib/config/read_daemon.h"
#include "lib/config/read_models.h"
#include "lib/config/read_parking_lot.h"
#include "lib/config/read_stores.h"
#include "lib/config/yaml_reader.h"

namespace parkd {
namespace {

constexpr size_t kFileBytesMax = 1 << 20;

Config read_config(const YamlSection& root) {
  Config config;
  config.daemon = read_daemon(root.section("daemon", "daemon"));
  const YamlSection lot = root.section("parking_lot", "parking_lot");
  const YamlSection mailbox = lot.section("mailbox", "parking_lot.mailbox");
  ParkingLotKeys keys;
  read_pool(lot.section("pool", "parking_lot.pool"), keys.pool);
  read_limits(lot.section("limits", "parking_lot.limits"), keys.limits);
  read_retention(mailbox, keys);
  const YamlSection queue = lot.section("queue", "parking_lot.queue");
  config.queue = read_queue(queue, config.daemon.state_dir);
  config.mailbox = read_mailbox(mailbox, queue, config.queue, keys);
  config.pool = resolve(keys.pool);
  config.limits = resolve(keys.limits, config.queue.backend);
  read_models(root, keys, config);
  return config;
}

}  // namespace

const ModelConfig* Config::find_model(std::string_view name) const {
  for (const ModelConfig& model : models) {
    if (model.name == name) return &model;
  }
  return nullptr;
}

ConfigInputs process_inputs() {
  const auto environment = [](std::string_view name) -> std::optional<std::string> {
    const char* value = std::getenv(std::string(name).c_str());
    if (value == nullptr) return std::nullopt;
    return std::string(value);
  };
  return {environment};
}

Result<Config> load_config(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    const std::error_code why(errno, std::generic_category());
    return not_found(path + ": cannot be opened: " + why.message() +
                     " (--config FILE names the configuration)");
  }
  // One byte more than allowed is enough to see that it is too long.
  std::string text(kFileBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return invalid(path + ": cannot be read");
  text.resize(static_cast<size_t>(file.gcount()));
  return parse_config(text, path);
}

Result<Config> parse_config(std::string_view text, const std::string& file_name) {
  return parse_config(text, file_name, process_inputs());
}

Result<Config> parse_config(std::string_view text, const std::string& file_name,
                            const ConfigInputs& inputs) {
  if (text.size() > kFileBytesMax) {
    return invalid(file_name + ": more than " + std::to_string(kFileBytesMax) + " bytes");
  }
  YamlReader reader(file_name, inputs);
  try {
    const YamlSection root(reader, reader.load(text), "", "");
    Config config = read_config(root);
    if (!reader.ok()) return reader.status();
    return config;
  } catch (const YAML::Exception& error) {
    if (reader.ok()) reader.fail_syntax(text, error);
    return reader.status();
  }
}

int32_t ModelParams::sequences_at_most() const {
  if (max_num_seqs || device == Device::cpu) return sequences_on_cpu();
  const auto n_devices = std::max<int32_t>(1, static_cast<int32_t>(device_ids.size()));
  return std::max(kCpuSequences, n_devices * kSequencesOfDeviceMax);
}

std::vector<std::string> config_notes(const Config& config) {
  std::vector<std::string> notes;
  if (!config.uses_postgres() && config.daemon.postgres != PostgresConfig{}) {
    notes.emplace_back("daemon.postgres is set, but neither queue nor mailbox is in PostgreSQL");
  }
  const DaemonConfig& daemon = config.daemon;
  const bool speaks_of_tcp =
      !daemon.tokens_file.empty() || !daemon.listen_tenant.empty() || !daemon.host_names.empty();
  if (daemon.listen.empty() && speaks_of_tcp) {
    notes.emplace_back(
        "daemon.tokens_file, listen_tenant and host_names are TCP's, and there is no "
        "daemon.listen");
  }
  if (!daemon.webhooks.empty() && config.queue.backend == StoreBackend::memory) {
    notes.emplace_back(
        "daemon.webhooks is set, but with the queue in memory there are no batches of files");
  }
  for (const ModelConfig& model : config.models) {
    if (model.params.kvcache_mem_cpu_mb || model.params.device == Device::cuda) continue;
    const std::string mb = std::to_string(model.params.kv_memory_mb()) + " MiB";
    notes.push_back("model " + model.name +
                    ": kvcache_mem_cpu is left out; on the CPU the KV cache takes " +
                    (model.params.kvcache_mem_gpu_mb ? "kvcache_mem_gpu, " + mb + ", of main memory"
                                                     : "the default " + mb));
  }
  return notes;
}

std::vector<std::string> known_config_keys() {
  std::vector<std::string> names;
  for (const ConfigKey& key : config_keys()) {
    if (key.kind != KeyKind::value) continue;
    names.push_back((key.section.empty() ? "" : std::string(key.section) + ".") +
                    std::string(key.key));
  }
  return names;
}

}  // namespace parkd
