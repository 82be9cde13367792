// What a YAML means: defaults, merging, the design document's examples, printing.
#include "lib/config/config.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "lib/config/kv_capacity.h"
#include "tests/config/parse.h"

namespace parkd {
namespace {

using std::chrono::seconds;

TEST(ConfigDefaults, a_model_alone_is_a_whole_configuration) {
  const Config c = parsed("models:\n  - {name: m, local_path: /m.gguf}\n");
  EXPECT_EQ(c.queue.backend, StoreBackend::rocksdb);
  EXPECT_TRUE(c.queue.persistence);
  EXPECT_EQ(c.queue.rocksdb_dir, "/var/lib/parkd/queue");
  EXPECT_EQ(c.mailbox.backend, StoreBackend::rocksdb);
  EXPECT_EQ(c.mailbox.retention, seconds(604800));
  EXPECT_EQ(c.default_model, "m");
  EXPECT_EQ(c.daemon.state_dir, "/var/lib/parkd");
  EXPECT_EQ(c.daemon.socket, "/run/parkd/parkd.sock");
  EXPECT_EQ(c.daemon.socket_mode, 0660u);
  EXPECT_EQ(c.daemon.socket_group, "");
  EXPECT_TRUE(c.daemon.listen.empty());
  ASSERT_EQ(c.models.size(), 1u);
  const ModelConfig& m = c.models[0];
  EXPECT_EQ(m.params.dtype, Dtype::bf16);
  EXPECT_EQ(m.params.max_num_seqs, std::nullopt) << "left out: the device decides";
  EXPECT_EQ(m.params.sequences_on_cpu(), 16);
  EXPECT_EQ(m.params.block_size, 32);
  EXPECT_EQ(m.params.kv_memory_mb(), 1024);
  EXPECT_EQ(m.params.prefill_chunk_size, std::nullopt);
  EXPECT_TRUE(m.params.tensor_core_attention);
  EXPECT_TRUE(m.params.sampling.empty());
  EXPECT_EQ(m.pool.worker_threads, std::nullopt) << "left out: the device decides";
  EXPECT_EQ(m.pool.max_blocking_threads, 512);
  EXPECT_EQ(m.pool.thread_stack_size_bytes, 2097152);
  EXPECT_EQ(m.limits.max_units, std::nullopt);
  EXPECT_EQ(m.limits.max_queue_depth, 1'000'000);
  EXPECT_EQ(m.limits.max_queued_per_tenant, 500'000) << "half";
  EXPECT_EQ(m.limits.max_scheduled_per_tenant, 10'000);
  EXPECT_EQ(m.limits.interactive_reserve, 0.125);
  EXPECT_EQ(c.daemon.max_open_batches, 1000);
  EXPECT_EQ(c.daemon.max_batches_bytes, 64 << 20);
  EXPECT_EQ(m.limits.timeout, std::nullopt) << "120 or 3600, by whether somebody waits";
  EXPECT_EQ(m.limits.admission, Admission::reserve);
  EXPECT_EQ(m.lot_jobs, std::nullopt);
  EXPECT_EQ(c.daemon.step_tokens, std::nullopt);
  EXPECT_EQ(c.daemon.step_tokens_on_cpu(), 512);
}

TEST(ConfigDefaults, sequences_of_0_are_left_out_and_bounded_by_the_devices_that_may_come) {
  const auto params = [](const std::string& of) {
    return parsed(with_params(of)).models[0].params;
  };
  EXPECT_EQ(params("{max_num_seqs: 0}").max_num_seqs, std::nullopt);
  EXPECT_EQ(params("{max_num_seqs: null}").max_num_seqs, std::nullopt);
  EXPECT_EQ(params("{max_num_seqs: 40}").sequences_on_cpu(), 40);
  EXPECT_EQ(params("{device: cpu}").sequences_at_most(), 16);
  EXPECT_EQ(params("{device: auto}").sequences_at_most(), 256);
  EXPECT_EQ(params("{device: cuda, device_ids: [0, 1, 2]}").sequences_at_most(), 3 * 256);
  EXPECT_EQ(params("{device_ids: [0, 1, 2], max_num_seqs: 12}").sequences_at_most(), 12);
}

TEST(ConfigDefaults, the_lot_has_a_second_round_of_sequences_and_64_more_than_run_at_most) {
  const ModelConfig model = parsed(with_params("{}")).models[0];
  EXPECT_EQ(model.lot_places(1), 2);
  EXPECT_EQ(model.lot_places(16), 32);
  EXPECT_EQ(model.lot_places(64), 128);
  EXPECT_EQ(model.lot_places(65), 129);
  EXPECT_EQ(model.lot_places(512), 576);
  EXPECT_EQ(parsed(with_daemon("lot_jobs: 9")).models[0].lot_places(512), 9);
}

// What is known is said; what only the device decides, in words.
TEST(ConfigPrint, says_how_many_jobs_may_be_parked) {
  const auto printed = [](const std::string& params) {
    return print_config(parsed(with_params(params)));
  };
  const auto says = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  EXPECT_TRUE(says(printed("{max_num_seqs: 4}"), "# parked jobs at most: 8\n"));
  EXPECT_TRUE(says(printed("{device: cpu}"), "# parked jobs at most: 32\n"));
  const std::string left_out = printed("{}");
  EXPECT_TRUE(says(left_out, "# parked jobs at most: 2 * max_num_seqs, and max_num_seqs + 64\n"));
  EXPECT_TRUE(says(left_out, "max_num_seqs: null\n")) << left_out;
  EXPECT_TRUE(says(left_out, "# sequences at once: 16 on the CPU; on CUDA")) << left_out;
}

TEST(ConfigDefaults, the_memory_back_end_bounds_its_queue_and_forgets_in_an_hour) {
  const Config c = parsed(with_lot("queue: {backend: memory}"));
  EXPECT_FALSE(c.queue.persistence);
  EXPECT_EQ(c.queue.rocksdb_dir, "");
  EXPECT_EQ(c.mailbox.backend, StoreBackend::memory);
  EXPECT_EQ(c.models[0].limits.max_queue_depth, 1000);
  EXPECT_EQ(c.models[0].limits.max_queued_per_tenant, 500);
  EXPECT_EQ(c.models[0].retention, seconds(3600));
}

TEST(ConfigDefaults, yaque_is_rocksdb_under_its_old_name) {
  const Config c = parsed(with_lot("queue: {backend: yaque, yaque_dir: ./queue}"));
  EXPECT_EQ(c.queue.backend, StoreBackend::rocksdb);
  EXPECT_EQ(c.queue.rocksdb_dir, "./queue");
}

TEST(ConfigDefaults, an_own_state_directory_moves_socket_and_queue_into_it) {
  const Config c = parsed(with_daemon("state_dir: /tmp/p"));
  EXPECT_EQ(c.daemon.socket, "/tmp/p/parkd.sock");
  EXPECT_EQ(c.queue.rocksdb_dir, "/tmp/p/queue");
  EXPECT_EQ(parsed(with_daemon("{state_dir: /tmp/p/, socket: /tmp/s}")).daemon.socket, "/tmp/s");
}

TEST(ConfigDefaults, with_several_models_none_is_the_default_unless_named) {
  const std::string models = "models:\n  - {name: a, hf_id: x/a}\n  - {name: b, hf_id: x/b}\n";
  EXPECT_EQ(parsed(models).default_model, "");
  EXPECT_EQ(parsed("default_model: b\n" + models).default_model, "b");
}

TEST(ConfigDefaults, kv_memory_on_the_cpu_prefers_its_own_key_and_says_so_otherwise) {
  const Config both = parsed(with_params("{kvcache_mem_gpu: 8192, kvcache_mem_cpu: 300}"));
  EXPECT_EQ(both.models[0].params.kv_memory_mb(), 300);
  EXPECT_TRUE(config_notes(both).empty());
  const Config gpu = parsed(with_params("{kvcache_mem_gpu: 8192}"));
  EXPECT_EQ(gpu.models[0].params.kv_memory_mb(), 8192);
  ASSERT_EQ(config_notes(gpu).size(), 1u);
  EXPECT_EQ(config_notes(gpu)[0],
            "model m: kvcache_mem_cpu is left out; on the CPU the KV cache takes kvcache_mem_gpu, "
            "8192 MiB, "
            "of main memory");
}

TEST(ConfigDefaults, an_explicit_block_size_and_chunk_are_honoured) {
  const ModelParams p =
      parsed(with_params("{block_size: 64, prefill_chunk_size: 512, dtype: f32, top_k: -1, "
                         "temperature: 0, top_p: 0.9, min_p: 0.05, device_ids: [0], "
                         "frequency_penalty: 0.5, presence_penalty: -1, prefix_caching: false, "
                         "tensor_core_attention: false}"))
          .models[0]
          .params;
  EXPECT_EQ(p.block_size, 64);
  EXPECT_EQ(p.prefill_chunk_size, 512);
  EXPECT_FALSE(p.prefix_caching);
  EXPECT_EQ(p.prefix_sharing, PrefixSharing::tenant);
  EXPECT_FALSE(p.tensor_core_attention);
  EXPECT_EQ(p.dtype, Dtype::f32);
  EXPECT_EQ(p.top_k, 0) << "-1 is off";
  EXPECT_EQ(p.sampling.at("temperature"), 0.0);
  EXPECT_EQ(p.sampling.at("top_p"), 0.9);
  EXPECT_EQ(p.sampling.at("min_p"), 0.05);
  EXPECT_EQ(p.sampling.at("frequency_penalty"), 0.5);
  EXPECT_EQ(p.sampling.at("presence_penalty"), -1.0);
  EXPECT_EQ(p.device_ids, std::vector<int32_t>{0});
}

TEST(ConfigDefaults, prompts_are_shared_within_a_tenant_unless_all_is_asked_for) {
  EXPECT_EQ(parsed(with_params("{}")).models[0].params.prefix_sharing, PrefixSharing::tenant);
  EXPECT_EQ(parsed(with_params("{prefix_sharing: all}")).models[0].params.prefix_sharing,
            PrefixSharing::all);
}

TEST(ConfigDaemon, every_daemon_key_is_honoured) {
  const DaemonConfig d = parsed(with_daemon(R"(
  state_dir: /s
  socket: /s/x.sock
  socket_mode: 0660
  socket_group: clients
  listen: [127.0.0.1:8080, '[::1]:0']
  tokens_file: ${ROOT}/tokens
  host_names: [GPU1.example, gpu1]
  log_level: debug
  log_format: json
  drain_timeout_s: 7
  lot_jobs: 9
  max_body_bytes: 2048
  max_request_bytes: 4096
  max_batch_jobs: 10
  connections_max: 64
  step_tokens: 64
  cpu_isa: avx2
  cuda_libraries: /opt/nvidia/lib
  tenants: {1000: alice, ci-bot: ci}
  critical_tenants: [ci]
  finish_batch_ms: 0
  watchdog_stall_s: 11
  history_days: 3
  min_free_disk_mb: 1
  memory_mb: 3000
  switch_wait_s: 30
  interactive_timeout_s: 31
  interactive_run_timeout_s: 32
  stream_grace_s: 33
  webhooks:
    - {tenant: lab, url_prefix: 'https://10.0.0.1:8443/x', secret_file: /s, allow_private: true}
    - {tenant: lab, url_prefix: 'https://a.org', secret_file: '${ROOT}/s', ca_file: /ca}
  files: {max_file_mb: 7, max_total_mb: 1025, max_files: 9, max_uploads: 2}
)"))
                             .daemon;
  ASSERT_EQ(d.webhooks.size(), 2u);
  EXPECT_EQ(
      d.webhooks[0],
      (WebhookConfig{"lab", read_webhook_url("https://10.0.0.1:8443/x").value(), "/s", true, ""}));
  EXPECT_EQ(d.webhooks[1], (WebhookConfig{"lab", read_webhook_url("https://a.org/").value(),
                                          "/root-of-test/s", false, "/ca"}));
  EXPECT_EQ(d.state_dir, "/s");
  EXPECT_EQ(d.socket, "/s/x.sock");
  EXPECT_EQ(d.socket_mode, 0660u);
  EXPECT_EQ(d.socket_group, "clients");
  EXPECT_EQ(d.listen, (std::vector<TcpAddress>{{"127.0.0.1", 8080}, {"::1", 0}}));
  EXPECT_EQ(d.tokens_file, "/root-of-test/tokens");
  EXPECT_EQ(d.host_names, (std::vector<std::string>{"gpu1.example", "gpu1"}));
  EXPECT_EQ(d.log_level, LogLevel::debug);
  EXPECT_EQ(d.log_format, LogFormat::json);
  EXPECT_EQ(d.drain_timeout, seconds(7));
  EXPECT_EQ(d.lot_jobs, 9);
  EXPECT_EQ(d.max_body_bytes, 2048);
  EXPECT_EQ(d.max_request_bytes, 4096);
  EXPECT_EQ(d.max_batch_jobs, 10);
  EXPECT_EQ(d.connections_max, 64);
  EXPECT_EQ(d.step_tokens, 64);
  EXPECT_EQ(d.cpu_isa, CpuIsa::avx2);
  EXPECT_EQ(d.cuda_libraries, "/opt/nvidia/lib");
  EXPECT_EQ(d.tenants, (std::map<std::string, std::string>{{"1000", "alice"}, {"ci-bot", "ci"}}));
  EXPECT_EQ(d.critical_tenants, std::vector<std::string>{"ci"});
  EXPECT_EQ(d.finish_batch.count(), 0);
  EXPECT_EQ(d.watchdog_stall, seconds(11));
  EXPECT_EQ(d.history_days, 3);
  EXPECT_EQ(d.min_free_disk_mb, 1);
  EXPECT_EQ(d.memory_mb, 3000);
  EXPECT_EQ(d.switch_wait, seconds(30));
  EXPECT_EQ(d.interactive_timeout, seconds(31));
  EXPECT_EQ(d.interactive_run_timeout, seconds(32));
  EXPECT_EQ(d.stream_grace, seconds(33));
  EXPECT_EQ(d.files, (FilesConfig{7, 1025, 9, 2}));
  EXPECT_EQ(parsed("idle_unload_secs: 3600\n" + with_daemon("memory_mb: 1")).idle_unload,
            seconds(3600));
  EXPECT_EQ(parsed(with_daemon("memory_mb: null")).daemon.memory_mb, std::nullopt);
  EXPECT_EQ(parsed(with_daemon("lot_jobs: 9")).models[0].lot_jobs, 9);
}

// --- merging
// ---------------------------------------------------------------------------------------

constexpr const char* kMerge = R"(
parking_lot:
  pool: {worker_threads: 4, thread_stack_size: 1048576}
  limits: {max_units: 100, max_queue_depth: 50, timeout_secs: 20}
  queue: {backend: memory}
  mailbox: {retention_secs: 120}
models:
  - name: plain
    hf_id: x/plain
  - name: own
    hf_id: x/own
    parking_lot:
      pool: {worker_threads: 1}
      limits: {max_units: 7}
      mailbox: {retention_secs: 240}
  - name: nulls
    hf_id: x/nulls
    parking_lot:
      limits: {max_units: null, max_queue_depth: ~, timeout_secs: null}
      queue: {backend: memory}
)";

TEST(ConfigMerge, a_model_without_sections_has_the_global_ones) {
  const Config c = parsed(kMerge);
  const ModelConfig& plain = *c.find_model("plain");
  EXPECT_EQ(plain.pool, c.pool);
  EXPECT_EQ(plain.limits, c.limits);
  EXPECT_EQ(plain.retention, seconds(120));
  EXPECT_EQ(plain.limits.max_units, 100);
  EXPECT_EQ(plain.limits.interactive_reserve, 0) << "with the memory back end";
}

TEST(ConfigMerge, a_models_section_merges_key_by_key) {
  const Config c = parsed(kMerge);
  const ModelConfig& own = *c.find_model("own");
  EXPECT_EQ(own.pool.worker_threads, 1);
  EXPECT_EQ(own.pool.thread_stack_size_bytes, 1048576) << "not mentioned: the global value stays";
  EXPECT_EQ(own.limits.max_units, 7);
  EXPECT_EQ(own.limits.max_queue_depth, 50);
  EXPECT_EQ(own.limits.max_queued_per_tenant, 25);
  EXPECT_EQ(own.limits.timeout, seconds(20));
  EXPECT_EQ(own.retention, seconds(240));
  EXPECT_EQ(c.find_model("plain")->pool.worker_threads, 4) << "its neighbour is untouched";
}

TEST(ConfigMerge, a_null_in_a_model_takes_the_global_value_away) {
  const Config c = parsed(kMerge);
  const ModelConfig& nulls = *c.find_model("nulls");
  EXPECT_EQ(nulls.limits.max_units, std::nullopt);
  EXPECT_EQ(nulls.limits.max_queue_depth, 1000) << "the memory back end's default";
  EXPECT_EQ(nulls.limits.timeout, std::nullopt);
}

TEST(ConfigMerge, an_anchored_section_can_be_used_twice) {
  const Config c = parsed(
      "models:\n  - {name: a, hf_id: x/a, params: &p {block_size: 64}}\n"
      "  - {name: b, hf_id: x/b, params: *p}\n");
  EXPECT_EQ(c.models[1].params.block_size, 64);
}

// --- the design document's examples
// ----------------------------------------------------------------

// Mistral-7B-Instruct-v0.3 and Ministral-3-3B, from their config.json: KV heads, head_dim, layers.
KvShape kv_shape(const ModelConfig& model, int32_t layers) {
  KvShape s;
  s.dtype = model.params.dtype;
  s.block_size = model.params.block_size;
  s.n_kv_heads = 8;
  s.head_dim = 128;
  s.n_layers = layers;
  return s;
}

TEST(ConfigExamples, the_design_documents_first_example_parses_merges_and_gives_1260_units) {
  const Config c = loaded("tests/config/examples/design_document_1.yaml");
  EXPECT_EQ(c.default_model, "mistral-3-ministral-3B-reasoning");
  ASSERT_EQ(c.models.size(), 1u);
  const ModelConfig& m = c.models[0];
  EXPECT_EQ(m.hf_id, "mistralai/Ministral-3-3B-Reasoning-2512");
  EXPECT_EQ(m.local_path, "");
  EXPECT_EQ(m.params.dtype, Dtype::f16);
  EXPECT_EQ(m.params.max_num_seqs, 128);
  EXPECT_EQ(m.pool.worker_threads, 4);
  EXPECT_EQ(m.pool.max_blocking_threads, 512);
  EXPECT_EQ(m.pool.thread_stack_size_bytes, 2097152);
  EXPECT_EQ(c.limits.max_queue_depth, 1000);
  EXPECT_EQ(m.limits.max_queue_depth, 500) << "the model's own";
  EXPECT_EQ(m.limits.timeout, seconds(120)) << "the global one";
  EXPECT_EQ(c.queue.backend, StoreBackend::memory);
  EXPECT_EQ(m.retention, seconds(3600));
  const Blocks physical = kv_capacity_blocks(m.params.kv_memory_mb(), kv_shape(m, 26));
  EXPECT_EQ(physical.count, 2520) << "blocks of 32 tokens";
  const UnitCapacity capacity = unit_capacity(physical, m.limits.max_units);
  EXPECT_EQ(capacity.blocks.count, 1260);
  EXPECT_EQ(capacity.warning, "");
}

TEST(ConfigExamples, the_design_documents_second_example_parses_merges_and_gives_2048_units) {
  const Config c = loaded("tests/config/examples/design_document_2.yaml");
  EXPECT_EQ(c.default_model, "mistral-7b") << "the only model";
  const ModelConfig& m = c.models.at(0);
  EXPECT_EQ(m.params.max_num_seqs, 256);
  EXPECT_EQ(m.limits.max_queue_depth, 500);
  EXPECT_EQ(m.limits.timeout, seconds(60));
  EXPECT_EQ(c.limits.timeout, seconds(120));
  EXPECT_EQ(m.pool.worker_threads, 4);
  const Blocks physical = kv_capacity_blocks(m.params.kv_memory_mb(), kv_shape(m, 32));
  const UnitCapacity capacity = unit_capacity(physical, m.limits.max_units);
  EXPECT_EQ(capacity.blocks.count, 2048);
  EXPECT_EQ(capacity.warning, "") << "block_size 32 holds exactly what the example asks for";
}

TEST(ConfigExamples, the_second_example_with_blocks_of_64_is_clamped) {
  Config c = loaded("tests/config/examples/design_document_2.yaml");
  c.models[0].params.block_size = 64;
  const Blocks physical = kv_capacity_blocks(8192, kv_shape(c.models[0], 32));
  const UnitCapacity capacity = unit_capacity(physical, c.models[0].limits.max_units);
  EXPECT_EQ(capacity.blocks.count, 1024);
  EXPECT_NE(capacity.warning, "");
}

// --- paths
// -----------------------------------------------------------------------------------------

TEST(ConfigPaths, an_environment_variable_is_expanded) {
  const Config c = parsed(with_daemon("state_dir: ${ROOT}/a${TAIL}"));
  EXPECT_EQ(c.daemon.state_dir, "/root-of-test/a-tail");
}

TEST(ConfigPaths, a_doubled_dollar_is_a_plain_one_and_a_single_one_stays) {
  EXPECT_EQ(parsed(with_daemon("state_dir: /a$${ROOT}/$b$")).daemon.state_dir, "/a${ROOT}/$b$");
}

TEST(ConfigPaths, a_tilde_is_the_home_directory) {
  EXPECT_EQ(parsed(with_daemon("state_dir: ~/x")).daemon.state_dir, "/home-of-test/x");
  EXPECT_EQ(parsed(with_daemon("state_dir: '~'")).daemon.state_dir, "/home-of-test");
  EXPECT_EQ(parsed(with_daemon("state_dir: /a~/x")).daemon.state_dir, "/a~/x");
  EXPECT_EQ(parsed("models: [{name: m, local_path: ~/m.gguf}]").models[0].local_path,
            "/home-of-test/m.gguf");
  const Config c = parsed(with_daemon("state_dir: ~/x"));
  EXPECT_TRUE(parsed(print_config(c)) == c);
}

TEST(ConfigPaths, variables_are_not_looked_up_outside_paths) {
  EXPECT_EQ(error_of("models: [{name: \"${ROOT}\", hf_id: x}]"),
            "t.yaml:1:17: key 'models[0].name': value \"${ROOT}\" has other characters than "
            "letters, digits and . _ - : / @");
}

TEST(ConfigPaths, the_dev_configuration_takes_its_places_from_the_environment) {
  ConfigInputs inputs = test_inputs();
  inputs.environment = [](std::string_view name) -> std::optional<std::string> {
    if (name == "PARKD_STATE_DIR") return "/state";
    if (name == "PARKD_MODEL_DIR") return "/models";
    return std::nullopt;
  };
  const auto c = parse_config(file_text("config/parkd.dev.yaml"), "dev", inputs);
  ASSERT_TRUE(c.ok()) << c.status().to_string();
  EXPECT_EQ(c->queue.backend, StoreBackend::rocksdb);
  EXPECT_EQ(c->queue.rocksdb_dir, "/state/queue");
  EXPECT_EQ(c->daemon.socket, "/state/parkd.sock");
  EXPECT_EQ(c->models[0].name, "smollm2-135m");
  EXPECT_EQ(c->models[0].params.device, Device::cpu);
  EXPECT_EQ(c->models[0].local_path, "/models/SmolLM2-135M-Instruct.Q4_1.gguf");
}

TEST(ConfigPaths, process_inputs_reads_the_real_environment) {
  ASSERT_EQ(setenv("PARKD_CONFIG_TEST", "here", 1), 0);
  EXPECT_EQ(process_inputs().environment("PARKD_CONFIG_TEST"), "here");
  ASSERT_EQ(unsetenv("PARKD_CONFIG_TEST"), 0);
  EXPECT_EQ(process_inputs().environment("PARKD_CONFIG_TEST"), std::nullopt);
}

// --- printing
// --------------------------------------------------------------------------------------

void expect_round_trip(const Config& config) {
  const std::string printed = print_config(config);
  const auto again = parse_config(printed, "printed", test_inputs());
  ASSERT_TRUE(again.ok()) << again.status().to_string() << "\n" << printed;
  EXPECT_TRUE(*again == config) << printed << "\nbecame\n" << print_config(*again);
}

TEST(ConfigPrint, what_is_printed_parses_to_the_same_configuration) {
  expect_round_trip(parsed("models:\n  - {name: m, local_path: /m.gguf}\n"));
  expect_round_trip(parsed(kMerge));
  expect_round_trip(loaded("tests/config/examples/design_document_1.yaml"));
  expect_round_trip(loaded("tests/config/examples/design_document_2.yaml"));
  expect_round_trip(
      parsed(with_params("{temperature: 0.1, top_p: 0.30000000000000004, top_k: 5, "
                         "min_p: 1e-5, frequency_penalty: 0.3, presence_penalty: -0.7, "
                         "prefill_chunk_size: 3, device: cpu, "
                         "device_ids: [3, 0], kvcache_mem_cpu: 5, dtype: f16}")));
}

TEST(ConfigPrint, names_that_look_like_something_else_survive) {
  expect_round_trip(parsed(with_daemon(
      "{state_dir: '/a \"b\" # c: $${X} $$ \\ ${ROOT}', log_level: error, log_format: json, "
      "socket_mode: 0777, socket_group: '0', socket: /s, lot_jobs: 4, cpu_isa: scalar, "
      "cuda_libraries: '/a$${b}', "
      "listen: '[::1]:1', tokens_file: '/a$${b}', host_names: ['1', 'null'], "
      "tenants: {0: '1', 'null': 'true'}, critical_tenants: ['1', 'yes', 'null'], "
      "webhooks: [{tenant: '1', url_prefix: 'https://A.org/%20', secret_file: '/a$${b}'}, "
      "{tenant: 'null', url_prefix: 'http://[::1]:80', secret_file: /s, allow_private: true, "
      "ca_file: '/c \"'}]}")));
  expect_round_trip(parsed("idle_unload_secs: 60\nmodels:\n  - {name: m, hf_id: a/b}\n"));
  expect_round_trip(parsed("default_model: '12'\nmodels:\n  - {name: 12, hf_id: 'null'}\n"));
}

TEST(ConfigDaemon, one_address_needs_no_list_and_loopback_may_be_one_tenants) {
  const DaemonConfig d = parsed(with_daemon("{listen: 127.0.0.1:8080, listen_tenant: me}")).daemon;
  EXPECT_EQ(d.listen, (std::vector<TcpAddress>{{"127.0.0.1", 8080}}));
  EXPECT_EQ(d.listen_tenant, "me");
  expect_round_trip(parsed(with_daemon("{listen: 127.0.0.1:8080, listen_tenant: me}")));
  const auto notes = config_notes(parsed(with_daemon("{tokens_file: /t}")));
  EXPECT_NE(notes.at(0).find("there is no daemon.listen"), std::string::npos) << notes.at(0);
}

TEST(ConfigPrint, every_honoured_key_is_printed) {
  const std::string printed =
      print_config(parsed(kMerge)) +
      print_config(parsed(
          with_daemon("webhooks: [{tenant: t, url_prefix: 'https://a.org/', secret_file: /s}]")));
  for (const std::string& key : known_config_keys()) {
    const std::string last = key.substr(key.rfind('.') + 1);
    EXPECT_NE(printed.find(last + ":"), std::string::npos) << key;
  }
}

// --- files
// -----------------------------------------------------------------------------------------

TEST(ConfigFile, a_file_that_is_not_there_says_so) {
  const auto c = load_config("/nonexistent/parkd.yaml");
  ASSERT_FALSE(c.ok());
  EXPECT_EQ(c.status().code(), StatusCode::not_found);
  EXPECT_EQ(c.status().message(),
            "/nonexistent/parkd.yaml: cannot be opened: No such file or directory (--config FILE "
            "names the configuration)");
}

TEST(ConfigFile, a_folder_is_refused) {
  const auto c = load_config(std::filesystem::temp_directory_path().string());
  ASSERT_FALSE(c.ok());
  EXPECT_NE(c.status().message().find("cannot be read"), std::string::npos) << c.status().message();
}

TEST(ConfigFile, an_error_in_a_file_names_the_file) {
  const auto path = std::filesystem::path(testing::TempDir()) / "parkd_config_test.yaml";
  std::ofstream(path) << "models: 7\n";
  const auto c = load_config(path.string());
  std::filesystem::remove(path);
  ASSERT_FALSE(c.ok());
  EXPECT_EQ(c.status().message(), path.string() + ":1:9: key 'models': value 7 is not a list");
}

}  // namespace
}  // namespace parkd
