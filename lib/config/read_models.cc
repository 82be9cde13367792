#include "lib/config/read_models.h"

#include <algorithm>
#include <set>

#include "lib/base/sampling_fields.h"
#include "lib/base/text.h"
#include "lib/config/read_stores.h"
#include "lib/config/values.h"
#include "lib/config/words.h"

namespace parkd {
namespace {

constexpr size_t kModelsMax = 64;
constexpr size_t kHfIdBytesMax = 512;  // a repository, a commit and a file

void read_device_ids(const YamlSection& section, ModelParams& params) {
  constexpr int64_t kDeviceIdMax = 63;
  for (const int64_t id :
       section.integers("device_ids", kDeviceIdMax + 1).value_or(std::vector<int64_t>{})) {
    if (id < 0 || id > kDeviceIdMax) {
      return section.fail("device_ids", "value " + std::to_string(id) + " is out of range (0 .. " +
                                            std::to_string(kDeviceIdMax) + ")");
    }
    const auto device = static_cast<int32_t>(id);
    const auto& known = params.device_ids;
    if (std::find(known.begin(), known.end(), device) != known.end()) {
      return section.fail("device_ids", "value " + std::to_string(id) + " is there twice");
    }
    params.device_ids.push_back(device);
  }
}

void read_sampling(const YamlSection& section, ModelParams& params) {
  for (const SamplingField& field : kSamplingFields) {
    if (!field.in_config || !section.has_value(field.name)) continue;
    const auto number = section.number(field.name, field.min, field.max);
    if (!number) continue;
    if (!is_within(field, *number)) {
      section.fail_value(field.name, "is out of range (above " + number_text(field.min) + " .. " +
                                         number_text(field.max) + ")");
    }
    params.sampling[field.name] = *number;
  }
  if (section.has_value("top_k")) {
    params.top_k = section.integer32("top_k", -1, 1000000);
    if (params.top_k == -1) params.top_k = 0;
  }
}

ModelParams read_params(const YamlSection& section) {
  constexpr int64_t kMemoryMbMax = 1 << 24;  // 16 TiB
  ModelParams params;
  params.dtype = section.word<Dtype>("dtype", words::kDtype).value_or(params.dtype);
  params.device = section.word<Device>("device", words::kDevice).value_or(params.device);
  read_device_ids(section, params);
  take_nullable(section, "kvcache_mem_gpu", 1, kMemoryMbMax, params.kvcache_mem_gpu_mb);
  take_nullable(section, "kvcache_mem_cpu", 1, kMemoryMbMax, params.kvcache_mem_cpu_mb);
  take_nullable(section, "max_num_seqs", 0, 4096, params.max_num_seqs);
  if (params.max_num_seqs == 0) params.max_num_seqs.reset();
  if (params.max_num_seqs &&
      *params.max_num_seqs < static_cast<int32_t>(params.device_ids.size())) {
    section.fail_value("max_num_seqs",
                       "is less than the " + std::to_string(params.device_ids.size()) +
                           " device_ids, each of which runs one at least: raise it, "
                           "or name fewer devices");
  }
  params.block_size = section.integer32("block_size", 32, 256).value_or(params.block_size);
  if (params.block_size % 32 != 0) {
    section.fail_value("block_size", "is not a multiple of 32 (32 .. 256)");
  }
  if (section.has_value("prefill_chunk_size")) {
    params.prefill_chunk_size = section.integer32("prefill_chunk_size", 1, 65536);
  }
  params.tensor_core_attention =
      section.boolean("tensor_core_attention").value_or(params.tensor_core_attention);
  params.prefix_caching = section.boolean("prefix_caching").value_or(params.prefix_caching);
  params.prefix_sharing = section.word<PrefixSharing>("prefix_sharing", words::kPrefixSharing)
                              .value_or(params.prefix_sharing);
  if (!params.prefix_caching && params.prefix_sharing == PrefixSharing::all) {
    section.fail_value("prefix_sharing", "shares nothing where prefix_caching is false");
  }
  read_sampling(section, params);
  return params;
}

void read_source(const YamlSection& section, ModelConfig& model) {
  if (section.has_value("hf_id")) {
    model.hf_id = read_name(section, "hf_id", kHfIdBytesMax).value_or("");
  }
  model.local_path = nullable_path(section, "local_path").value_or("");
  if (!section.has_value("hf_id") && !section.has_value("local_path")) {
    section.fail("", "missing source: set local_path or hf_id");
  }
}

ModelConfig read_model(const YamlSection& section, const Config& config,
                       const ParkingLotKeys& global) {
  ModelConfig model;
  if (!section.has("name")) section.fail("", "missing name");
  model.name = read_name(section, "name", kNameBytesMax).value_or("");
  read_source(section, model);
  model.params = read_params(section.section("params", "models[].params"));

  const YamlSection lot = section.section("parking_lot", "parking_lot");
  const YamlSection mailbox = lot.section("mailbox", "parking_lot.mailbox");
  ParkingLotKeys keys = global;
  read_pool(lot.section("pool", "parking_lot.pool"), keys.pool);
  read_limits(lot.section("limits", "parking_lot.limits"), keys.limits);
  read_retention(mailbox, keys);
  check_model_backends(lot.section("queue", "parking_lot.queue"), mailbox, config);

  model.pool = resolve(keys.pool);
  model.limits = resolve(keys.limits, config.queue.backend);
  model.retention = resolve_retention(keys, config.queue.backend);
  model.lot_jobs = config.daemon.lot_jobs;
  return model;
}

}  // namespace

void read_models(const YamlSection& root, const ParkingLotKeys& global, Config& config) {
  const auto sections = root.sections("models", "models[]", kModelsMax);
  if (sections.empty()) root.fail("models", "at least one model is needed");
  std::set<std::string> names;
  for (const YamlSection& section : sections) {
    config.models.push_back(read_model(section, config, global));
    if (!names.insert(config.models.back().name).second) {
      section.fail_value("name", "is the name of an earlier model: names are unique");
    }
  }
  if (root.has_value("idle_unload_secs")) {
    constexpr int64_t kMonthSeconds = 30 * 24 * 3600;
    if (const auto secs = root.integer("idle_unload_secs", 1, kMonthSeconds)) {
      config.idle_unload = std::chrono::seconds(*secs);
    }
  }
  if (root.has_value("default_model")) {
    config.default_model = root.text("default_model", kNameBytesMax).value_or("");
    if (config.find_model(config.default_model) == nullptr) {
      root.fail_value("default_model", "is not a name in models");
    }
  } else if (config.models.size() == 1) {
    config.default_model = config.models[0].name;
  }
}

}  // namespace parkd
