// What is refused, and the exact words: FILE:LINE:COLUMN: key 'a.b.c': value X ... limit.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/config/parse.h"

namespace parkd {
namespace {

struct Refusal {
  std::string text;
  std::string message;
};

void expect_refused(const std::vector<Refusal>& refusals) {
  for (const Refusal& r : refusals) EXPECT_EQ(error_of(r.text), r.message) << r.text;
}

// --- the shape of the document
// ---------------------------------------------------------------------

TEST(ConfigErrors, the_key_at_fault_is_the_status_param) {
  const auto c = parse_config(with_lot("limits: {max_units: 0}"), "t.yaml", test_inputs());
  ASSERT_FALSE(c.ok());
  EXPECT_EQ(c.status().code(), StatusCode::invalid);
  EXPECT_EQ(c.status().param(), "parking_lot.limits.max_units");
}

TEST(ConfigErrors, syntax_errors_have_line_and_column) {
  expect_refused({
      {"models:\n  - {name: m\n", "t.yaml:3:1: end of map flow not found"},
      {"a: b: c\n", "t.yaml:1:5: illegal map value"},
      {"models: []\n---\nmodels: []\n", "t.yaml:1:1: more than one YAML document in the file"},
      {"models: !secret x\n", "t.yaml:1:9: tags are not supported (found '!secret')"},
      {"models: !!int 3\n", "t.yaml:1:9: tags are not supported (found 'tag:yaml.org,2002:int')"},
  });
}

TEST(ConfigErrors, an_empty_or_shapeless_document_is_refused) {
  expect_refused({
      {"", "t.yaml:1:1: key 'models': at least one model is needed"},
      {"# nothing\n", "t.yaml:1:1: key 'models': at least one model is needed"},
      {"models: []\n", "t.yaml:1:9: key 'models': at least one model is needed"},
      {"just text\n", "t.yaml:1:1: value \"just text\" is not a mapping of keys"},
      {"- a\n", "t.yaml:1:1: value [list] is not a mapping of keys"},
      {"models: {name: m}\n", "t.yaml:1:9: key 'models': value {mapping} is not a list"},
      {"models: [7]\n", "t.yaml:1:10: key 'models[0]': value 7 is not a mapping of keys"},
      {"parking_lot: 3\n", "t.yaml:1:14: key 'parking_lot': value 3 is not a mapping of keys"},
      {"? [a]\n: b\n", "t.yaml:1:3: a key is not a plain word"},
  });
}

TEST(ConfigErrors, hostile_documents_are_bounded) {
  // Where exactly is yaml-cpp's business: it opens a mapping for a bracket that may become a key.
  EXPECT_NE(error_of("models: " + std::string(100000, '[')).find(": nested deeper than 32"),
            std::string::npos);
  EXPECT_EQ(error_of("a: &a [*a]\n"), "t.yaml:1:8: an alias stands inside the node it names");
  std::string many = "models:\n";
  for (int i = 0; i < 20001; ++i) many += "- x\n";
  EXPECT_EQ(error_of(many), "t.yaml:19999:3: more than 20000 values");
  EXPECT_EQ(error_of(std::string((1 << 20) + 1, '#')), "t.yaml: more than 1048576 bytes");
  // Nine levels of nine aliases each: 9^9 values if they were copied out.
  std::string bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n";
  for (char c = 'b'; c <= 'i'; ++c) {
    const std::string alias = std::string("*") + static_cast<char>(c - 1);
    bomb += std::string(1, c) + ": &" + c + " [" + alias;
    for (int i = 0; i < 8; ++i) bomb += "," + alias;
    bomb += "]\n";
  }
  EXPECT_EQ(error_of(bomb), "t.yaml:1:1: key 'a': unknown key");
}

// --- keys
// ------------------------------------------------------------------------------------------

TEST(ConfigErrors, unknown_keys_are_errors_with_a_hint_when_one_is_close) {
  expect_refused({
      {with_lot("pool: {worker_thread: 4}"),
       "t.yaml:3:10: key 'parking_lot.pool.worker_thread': unknown key; did you mean "
       "'worker_threads'?"},
      {with_lot("limit: {}"),
       "t.yaml:3:3: key 'parking_lot.limit': unknown key; did you mean 'limits'?"},
      {with_lot("limits: {worker_threads: 4}"),
       "t.yaml:3:12: key 'parking_lot.limits.worker_threads': unknown key; it belongs in "
       "'parking_lot.pool'"},
      {with_params("{default_model: m}"),
       "t.yaml:4:12: key 'models[0].params.default_model': unknown key; it belongs at the top "
       "level"},
      {"frobnicate: 1\n", "t.yaml:1:1: key 'frobnicate': unknown key"},
      {"models: [{name: m, hf_id: x, <<: {}}]\n", "t.yaml:1:30: key 'models[0].<<': unknown key"},
  });
}

TEST(ConfigErrors, a_key_written_twice_is_an_error) {
  expect_refused({
      {"default_model: a\ndefault_model: b\n",
       "t.yaml:2:1: key 'default_model': written twice, first on line 1"},
      {with_lot("pool: {worker_threads: 4, worker_threads: 4}"),
       "t.yaml:3:29: key 'parking_lot.pool.worker_threads': written twice, first on line 3"},
      {with_daemon("tenants: {1: a, 1: b}"),
       "t.yaml:3:19: key 'daemon.tenants': entry 1 written twice"},
  });
}

TEST(ConfigErrors, keys_of_the_parent_systems_are_refused_by_name) {
  expect_refused({
      {with_lot("mailbox: {webhook: {}}"),
       "t.yaml:3:13: key 'parking_lot.mailbox.webhook': not supported yet"},
      {"models: [{name: m, hf_id: x, weight_file: w}]\n",
       "t.yaml:1:30: key 'models[0].weight_file': not supported yet: let local_path name the file "
       "itself"},
  });
  for (const std::string key : {"quantization", "isq", "multithread", "kvcache_compression"}) {
    EXPECT_EQ(error_of(with_params("{" + key + ": 1}")),
              "t.yaml:4:12: key 'models[0].params." + key + "': not supported yet");
  }
  EXPECT_EQ(error_of(with_params("{prompt_cache: {enabled: true}}")),
            "t.yaml:4:12: key 'models[0].params.prompt_cache': not supported: prompts share KV "
            "memory, which prefix_caching turns off");
  for (const std::string key : {"capabilities", "notes"}) {
    EXPECT_NE(error_of("models: [{name: m, hf_id: x, " + key + ": {}}]\n")
                  .find(key + "': not supported yet"),
              std::string::npos);
  }
}

TEST(ConfigErrors, values_of_what_is_to_come_are_refused_by_name) {
  expect_refused({
      {with_lot("queue: {backend: sqlite}"),
       "t.yaml:3:20: key 'parking_lot.queue.backend': value \"sqlite\" is not supported yet"},
      {with_lot("limits: {admission: grow}"),
       "t.yaml:3:23: key 'parking_lot.limits.admission': value \"grow\" is not supported yet"},
  });
}

// --- types
// -----------------------------------------------------------------------------------------

TEST(ConfigErrors, a_value_of_the_wrong_type_is_refused) {
  const std::string at = "t.yaml:3:26: key 'parking_lot.pool.worker_threads': value ";
  expect_refused({
      {with_lot("pool: {worker_threads: four}"), at + "\"four\" is not an integer (1 .. 1024)"},
      {with_lot("pool: {worker_threads: '4'}"), at + "\"4\" is not an integer (1 .. 1024)"},
      {with_lot("pool: {worker_threads: 4.0}"), at + "4.0 is not an integer (1 .. 1024)"},
      {with_lot("pool: {worker_threads: [4]}"), at + "[list] is not an integer (1 .. 1024)"},
      {with_lot("pool: {worker_threads: -1}"), at + "-1 is out of range (1 .. 1024)"},
      {with_lot("pool: {worker_threads: 99999999999999999999}"),
       at + "99999999999999999999 is out of range (1 .. 1024)"},
      {with_lot("pool: {thread_stack_size: }"),
       "t.yaml:3:10: key 'parking_lot.pool.thread_stack_size': value null is not an integer (65536 "
       ".. 1073741824)"},
      {with_lot("queue: {persistence: yes}"),
       "t.yaml:3:24: key 'parking_lot.queue.persistence': value \"yes\" is not true or false"},
      {with_lot("queue: {backend: [a]}"),
       "t.yaml:3:20: key 'parking_lot.queue.backend': value [list] is not a single value"},
      {with_lot("queue: {backend: mysql}"),
       "t.yaml:3:20: key 'parking_lot.queue.backend': value \"mysql\" is none of memory, rocksdb, "
       "yaque, postgres"},
      {with_params("{temperature: hot}"),
       "t.yaml:4:25: key 'models[0].params.temperature': value \"hot\" is not a number (0 .. 2)"},
      {with_params("{device_ids: [-1]}"),
       "t.yaml:4:24: key 'models[0].params.device_ids': value -1 is out of range (0 .. 63)"},
      {with_params("{device_ids: [1, 1]}"),
       "t.yaml:4:24: key 'models[0].params.device_ids': value 1 is there twice"},
      {with_params("{device_ids: [64]}"),
       "t.yaml:4:24: key 'models[0].params.device_ids': value 64 is out of range (0 .. 63)"},
      {with_params("{device_ids: [x]}"),
       "t.yaml:4:25: key 'models[0].params.device_ids': value \"x\" is not an integer"},
      {with_params("{device_ids: 0}"),
       "t.yaml:4:24: key 'models[0].params.device_ids': value 0 is not a list"},
      {with_params("{device_ids: [0, 1, 2], max_num_seqs: 2}"),
       "t.yaml:4:49: key 'models[0].params.max_num_seqs': value 2 is less than the 3 device_ids, "
       "each of which runs one at least: raise it, or name fewer devices"},
      {with_daemon("tenants: [a]"),
       "t.yaml:3:12: key 'daemon.tenants': value [list] is not a mapping of keys"},
      {with_daemon("tenants: {a: [b]}"),
       "t.yaml:3:13: key 'daemon.tenants': an entry is not a word: word pair"},
      {with_daemon("critical_tenants: [[a]]"),
       "t.yaml:3:22: key 'daemon.critical_tenants': value [list] is not a single value"},
  });
}

TEST(ConfigErrors, a_long_value_is_cut_in_the_message) {
  const std::string message = error_of(with_params("{dtype: " + std::string(500, 'x') + "}"));
  EXPECT_EQ(message, "t.yaml:4:19: key 'models[0].params.dtype': value \"" + std::string(80, 'x') +
                         "\"... is none of f32, f16, bf16");
}

// --- ranges: every bounded key, one step below and above
// -------------------------------------------

struct Range {
  std::string section;  // parking_lot.*, models[0].params, daemon
  std::string key;
  std::string below, lowest, highest, above;
  std::string range;
};

std::string ranged(const Range& r, const std::string& value) {
  const std::string entry = "{" + r.key + ": " + value + "}";
  if (r.section == "models[0].params") return with_params(entry);
  if (r.section == "daemon") return with_daemon(entry);
  if (r.section == "daemon.files") return with_daemon("{files: " + entry + "}");
  return with_lot(r.section.substr(std::string("parking_lot.").size()) + ": " + entry);
}

TEST(ConfigErrors, every_number_has_a_lowest_and_a_highest_value) {
  const std::string pool = "parking_lot.pool", limits = "parking_lot.limits";
  const std::string params = "models[0].params", daemon = "daemon", files = "daemon.files";
  const std::vector<Range> ranges = {
      {pool, "worker_threads", "0", "1", "1024", "1025", "1 .. 1024"},
      {pool, "max_blocking_threads", "0", "1", "4096", "4097", "1 .. 4096"},
      {pool, "thread_stack_size", "65535", "65536", "1073741824", "1073741825",
       "65536 .. 1073741824"},
      {limits, "max_units", "0", "1", "1000000000", "1000000001", "1 .. 1000000000"},
      {limits, "max_queue_depth", "0", "1", "1000000000", "1000000001", "1 .. 1000000000"},
      {limits, "max_queued_per_tenant", "0", "1", "1000000000", "1000000001", "1 .. 1000000000"},
      {limits, "max_scheduled_per_tenant", "0", "1", "1000000000", "1000000001", "1 .. 1000000000"},
      {limits, "interactive_reserve", "-0.1", "0", "0.5", "0.51", "0 .. 0.5"},
      {limits, "timeout_secs", "0", "1", "604800", "604801", "1 .. 604800"},
      {"parking_lot.mailbox", "retention_secs", "59", "60", "2592000", "2592001", "60 .. 2592000"},
      {params, "kvcache_mem_gpu", "0", "1", "16777216", "16777217", "1 .. 16777216"},
      {params, "kvcache_mem_cpu", "0", "1", "16777216", "16777217", "1 .. 16777216"},
      {params, "max_num_seqs", "-1", "0", "4096", "4097", "0 .. 4096"},
      {params, "block_size", "31", "32", "256", "257", "32 .. 256"},
      {params, "prefill_chunk_size", "0", "1", "65536", "65537", "1 .. 65536"},
      {params, "temperature", "-0.1", "0", "2", "2.1", "0 .. 2"},
      {params, "top_p", "-0.1", "0.001", "1", "1.1", "0 .. 1"},
      {params, "top_k", "-2", "-1", "1000000", "1000001", "-1 .. 1000000"},
      {params, "min_p", "-0.1", "0", "1", "nan", "0 .. 1"},
      {params, "frequency_penalty", "-2.1", "-2", "2", "2.1", "-2 .. 2"},
      {params, "presence_penalty", "-2.1", "-2", "2", "inf", "-2 .. 2"},
      {daemon, "drain_timeout_s", "-1", "0", "3600", "3601", "0 .. 3600"},
      {daemon, "lot_jobs", "0", "1", "100000", "100001", "1 .. 100000"},
      {daemon, "max_body_bytes", "1023", "1024", "67108864", "67108865", "1024 .. 67108864"},
      {daemon, "max_request_bytes", "1023", "1048576", "134217728", "134217729",
       "1024 .. 134217728"},
      {daemon, "connections_max", "31", "32", "65536", "65537", "32 .. 65536"},
      {daemon, "max_batch_jobs", "0", "1", "1000000", "1000001", "1 .. 1000000"},
      {daemon, "step_tokens", "0", "1", "65536", "65537", "1 .. 65536"},
      {daemon, "finish_batch_ms", "-1", "0", "1000", "1001", "0 .. 1000"},
      {daemon, "watchdog_stall_s", "4", "5", "3600", "3601", "5 .. 3600"},
      {daemon, "history_days", "0", "1", "3650", "3651", "1 .. 3650"},
      {daemon, "min_free_disk_mb", "-1", "0", "16777216", "16777217", "0 .. 16777216"},
      {daemon, "memory_mb", "0", "1", "16777216", "16777217", "1 .. 16777216"},
      {daemon, "switch_wait_s", "-1", "0", "86400", "86401", "0 .. 86400"},
      {daemon, "interactive_timeout_s", "0", "1", "86400", "86401", "1 .. 86400"},
      {daemon, "interactive_run_timeout_s", "0", "1", "86400", "86401", "1 .. 86400"},
      {daemon, "stream_grace_s", "-1", "0", "86400", "86401", "0 .. 86400"},
      {files, "max_file_mb", "0", "1", "1024", "1025", "1 .. 1024"},
      {files, "max_total_mb", "1023", "1024", "16777216", "16777217", "1024 .. 16777216"},
      {files, "max_files", "0", "1", "100000", "100001", "1 .. 100000"},
      {files, "max_uploads", "0", "1", "1000", "1001", "1 .. 1000"},
  };
  for (const Range& r : ranges) {
    EXPECT_EQ(error_of(ranged(r, r.lowest)), "") << r.key;
    EXPECT_EQ(error_of(ranged(r, r.highest)), "") << r.key;
    for (const std::string& value : {r.below, r.above}) {
      const std::string message = error_of(ranged(r, value));
      const std::string tail = ": key '" + r.section + "." + r.key + "': value " + value +
                               " is out of range (" + r.range + ")";
      ASSERT_GE(message.size(), tail.size()) << r.key << " " << value << ": " << message;
      EXPECT_EQ(message.substr(message.size() - tail.size()), tail);
      EXPECT_EQ(message.substr(0, 7), "t.yaml:");
    }
  }
}

TEST(ConfigErrors, numbers_with_a_second_rule) {
  expect_refused({
      {with_params("{block_size: 48}"),
       "t.yaml:4:24: key 'models[0].params.block_size': value 48 is not a multiple of 32 (32 .. "
       "256)"},
      {with_params("{top_p: 0}"),
       "t.yaml:4:19: key 'models[0].params.top_p': value 0 is out of range (above 0 .. 1)"},
      {with_daemon("{max_body_bytes: 4096, max_request_bytes: 2048}"),
       "t.yaml:3:20: key 'daemon.max_body_bytes': value 4096 is above daemon.max_request_bytes, "
       "2048"},
      {with_daemon("{max_request_bytes: 2048}"),
       "t.yaml:3:23: key 'daemon.max_request_bytes': value 2048 is below daemon.max_body_bytes, "
       "1048576"},
  });
}

// --- models
// ----------------------------------------------------------------------------------------

TEST(ConfigErrors, models_have_unique_names_and_a_source) {
  expect_refused({
      {"models:\n  - hf_id: x\n", "t.yaml:2:5: key 'models[0]': missing name"},
      {"models:\n  - name: m\n",
       "t.yaml:2:5: key 'models[0]': missing source: set local_path or "
       "hf_id"},
      {"models:\n  - {name: m, hf_id: x}\n  - {name: m, hf_id: y}\n",
       "t.yaml:3:12: key 'models[1].name': value \"m\" is the name of an earlier model: names are "
       "unique"},
      {"models: [{name: '', hf_id: x}]\n",
       "t.yaml:1:17: key 'models[0].name': value \"\" is empty"},
      {"models: [{name: a b, hf_id: x}]\n",
       "t.yaml:1:17: key 'models[0].name': value \"a b\" has other characters than letters, digits "
       "and . _ - : / @"},
      {"models: [{name: " + std::string(129, 'n') + ", hf_id: x}]\n",
       "t.yaml:1:17: key 'models[0].name': value \"" + std::string(80, 'n') +
           "\"... is 129 bytes long, limit 128"},
      {"models: [{name: m, hf_id: " + std::string(513, 'n') + "}]\n",
       "t.yaml:1:27: key 'models[0].hf_id': value \"" + std::string(80, 'n') +
           "\"... is 513 bytes long, limit 512"},
      {"models: [{name: m, hf_id: null, local_path: null}]\n",
       "t.yaml:1:10: key 'models[0]': missing source: set local_path or hf_id"},
      {"default_model: z\nmodels: [{name: m, hf_id: x}]\n",
       "t.yaml:1:16: key 'default_model': value \"z\" is not a name in models"},
      {"models: [{name: m, local_path: \"/a\\nb\"}]\n",
       "t.yaml:1:32: key 'models[0].local_path': value \"/a\\nb\" has control characters or is not "
       "UTF-8"},
  });
  std::string many = "models:\n";
  for (int i = 0; i < 65; ++i) many += "- {name: m" + std::to_string(i) + ", hf_id: x}\n";
  EXPECT_EQ(error_of(many), "t.yaml:2:1: key 'models': a list of 65 entries is too long, limit 64");
}

// --- back ends
// -------------------------------------------------------------------------------------

TEST(ConfigErrors, contradictory_back_ends_are_refused_with_a_reason) {
  expect_refused({
      {with_lot("queue: {backend: memory, persistence: true}"),
       "t.yaml:3:41: key 'parking_lot.queue.persistence': value true contradicts backend memory, "
       "which forgets jobs when it stops: leave persistence out, or choose backend rocksdb or "
       "postgres"},
      {with_lot("queue: {persistence: false}"),
       "t.yaml:3:24: key 'parking_lot.queue.persistence': value false contradicts backend rocksdb, "
       "which keeps jobs on disk: leave persistence out, or choose backend memory"},
      {with_lot("mailbox: {backend: memory}"),
       "t.yaml:3:22: key 'parking_lot.mailbox.backend': value \"memory\" does not go with queue "
       "back end rocksdb: the pairs are memory + memory, rocksdb + rocksdb, postgres + "
       "postgres and rocksdb + postgres"},
      {with_lot("queue: {backend: memory, rocksdb_dir: /q}"),
       "t.yaml:3:41: key 'parking_lot.queue.rocksdb_dir': value \"/q\" has no use with the memory "
       "back end: leave it out"},
      {with_lot("queue: {rocksdb_dir: /q, yaque_dir: /q}"),
       "t.yaml:3:39: key 'parking_lot.queue.yaque_dir': value \"/q\" is a second name of "
       "rocksdb_dir: write one of them"},
  });
  EXPECT_EQ(error_of(with_lot("queue: {backend: memory, persistence: false}")), "");
  EXPECT_EQ(error_of(with_lot("queue: {backend: rocksdb, persistence: true}")), "");
  EXPECT_EQ(error_of(with_lot("{queue: {backend: memory}, mailbox: {backend: memory}}")), "");
}

TEST(ConfigErrors, a_model_cannot_have_a_queue_of_its_own) {
  const auto model = [](const std::string& lot) {
    return "models: [{name: m, hf_id: x, parking_lot: {" + lot + "}}]\n";
  };
  const std::string one =
      ", but a daemon has one queue and one mailbox: set it in the global parking_lot";
  expect_refused({
      {model("queue: {backend: memory}"),
       "t.yaml:1:61: key 'models[0].parking_lot.queue.backend': value \"memory\" differs from the "
       "global rocksdb" +
           one},
      {model("mailbox: {backend: memory}"),
       "t.yaml:1:63: key 'models[0].parking_lot.mailbox.backend': value \"memory\" differs from "
       "the "
       "global rocksdb" +
           one},
      {model("queue: {rocksdb_dir: /x}"),
       "t.yaml:1:65: key 'models[0].parking_lot.queue.rocksdb_dir': value \"/x\" is set for one "
       "model" +
           one},
  });
  EXPECT_EQ(error_of(model("queue: {backend: rocksdb}")), "");
}

TEST(ConfigErrors, a_models_own_section_is_checked_like_the_global_one) {
  expect_refused({
      {"models:\n- name: m\n  hf_id: x\n  parking_lot: {limits: {max_units: 0}}\n",
       "t.yaml:4:37: key 'models[0].parking_lot.limits.max_units': value 0 is out of range (1 .. "
       "1000000000)"},
  });
}

// --- daemon
// ----------------------------------------------------------------------------------------

TEST(ConfigErrors, paths_name_what_is_wrong_with_them) {
  const std::string dir = "t.yaml:3:14: key 'daemon.state_dir': value ";
  expect_refused({
      {with_daemon("state_dir: ${NOWHERE}/x"),
       dir + "\"${NOWHERE}/x\" names the environment variable NOWHERE, which is not set"},
      {with_daemon("state_dir: ${EMPTY}/x"),
       dir + "\"${EMPTY}/x\" names the environment variable EMPTY, which is not set"},
      {with_daemon("state_dir: /a/${ROOT"), dir + "\"/a/${ROOT\" has a ${ without its }"},
      {with_daemon("state_dir: ~ann/x"),
       dir + "\"~ann/x\" starts with ~ and a name, which is not looked up: write that home "
             "directory out (or ./~... for a folder of this name)"},
      {with_daemon("state_dir: ''"), dir + "\"\" is empty"},
      {with_daemon("state_dir: [a]"), dir + "[list] is not a single value"},
      {with_daemon("socket: /" + std::string(107, 's')),
       "t.yaml:3:11: key 'daemon.socket': path \"/" + std::string(107, 's') +
           "\" is 108 bytes long, limit 107 (a Unix socket's address)"},
  });
  EXPECT_EQ(error_of(with_daemon("socket: /" + std::string(106, 's'))), "");
}

TEST(ConfigErrors, a_tab_in_the_indentation_is_named) {
  const std::string why = "a tab stands in this line's indentation, where YAML takes spaces only";
  expect_refused({
      {"models:\n\t- name: m\n", "t.yaml:2:1: " + why},
      {"models: [{name: m, hf_id: x/m}]\ndaemon:\n  log_level: info\n\tsocket: x\n",
       "t.yaml:4:1: " + why},
      {with_daemon("fo\to: 3"), "t.yaml:3:3: key 'daemon.fo?o': unknown key"},
  });
}

TEST(ConfigErrors, socket_mode_is_octal) {
  const std::string at = "t.yaml:3:16: key 'daemon.socket_mode': value ";
  expect_refused({
      {with_daemon("socket_mode: 0888"), at + "0888 is not an octal mode (0600 .. 0777)"},
      {with_daemon("socket_mode: 1777"), at + "1777 is not an octal mode (0600 .. 0777)"},
      {with_daemon("socket_mode: 0060"), at + "0060 is not an octal mode (0600 .. 0777)"},
      {with_daemon("socket_mode: rw"), at + "\"rw\" is not an octal mode (0600 .. 0777)"},
  });
}

TEST(ConfigErrors, socket_group_is_a_group_that_the_mode_lets_in) {
  const std::string at = "t.yaml:3:17: key 'daemon.socket_group': value ";
  const std::string rule = " is not a group's name or number (1 .. 32 letters, digits, . _ -)";
  expect_refused({
      {with_daemon("socket_group: a b"), at + "\"a b\"" + rule},
      {with_daemon("socket_group: ''"), at + "\"\" is empty"},
      {with_daemon("{socket_mode: 0600, socket_group: clients}"),
       "t.yaml:3:37: key 'daemon.socket_group': is given, but socket_mode does not let a group in: "
       "that takes both bits of 0060"},
  });
  EXPECT_EQ(error_of(with_daemon("{socket_group: 1000, socket_mode: 0660}")), "");
  EXPECT_EQ(error_of(with_daemon("{socket_group: null, socket_mode: 0600}")), "");
}

TEST(ConfigErrors, tcp_says_where_and_who) {
  const std::string at = "t.yaml:3:11: key 'daemon.listen': ";
  const std::string inside = "t.yaml:3:12: key 'daemon.listen': ";
  const std::string form = " is not an IP address and a port, as 127.0.0.1:8080 or [::1]:8080";
  const std::string nobody =
      "needs tokens_file, which says whose token is whose (jobctl token new TENANT --file FILE "
      "makes "
      "one), or, on a loopback address of a machine of one person, listen_tenant";
  expect_refused({
      {with_daemon("listen: 8080"), at + "value \"8080\"" + form},
      {with_daemon("listen: localhost:8080"), at + "value \"localhost:8080\"" + form},
      {with_daemon("listen: [127.0.0.1:8080, '::1:80']"), at + "value \"::1:80\"" + form},
      {with_daemon("listen: 127.0.0.1:99999"),
       at + "value \"127.0.0.1:99999\" has a port that is not a whole number from 0 (whichever is "
            "free) to 65535"},
      {with_daemon("listen: 127.0.0.1:8080"), at + nobody},
      {with_daemon("{listen: [127.0.0.1:80, 127.0.0.1:80], listen_tenant: me}"),
       inside + "value \"127.0.0.1:80\" is there twice"},
      {with_daemon("{listen: {}, listen_tenant: me}"), inside + "value {mapping} is not a list"},
      {with_daemon("{listen_tenant: me, listen: ['127.0.0.1:80', '0.0.0.0:80']}"),
       "t.yaml:3:19: key 'daemon.listen_tenant': lets whoever reaches 0.0.0.0:80 act as it, which "
       "other machines may: listen on a loopback address (127.0.0.1, [::1]) alone, or give "
       "tokens_file"},
      {with_daemon("{listen_tenant: me, tokens_file: /t}"),
       "t.yaml:3:19: key 'daemon.listen_tenant': is given beside tokens_file: either each request "
       "by "
       "TCP has a token, or all are this tenant's. Remove one of them"},
      {with_daemon("listen_tenant: a b"),
       "t.yaml:3:18: key 'daemon.listen_tenant': value \"a b\" is not a tenant (1 .. 64 letters, "
       "digits, . _ -)"},
      {with_daemon("host_names: [a, 'b:80']"),
       "t.yaml:3:15: key 'daemon.host_names': value \"b:80\" is not a host name (1 .. 253 letters, "
       "digits, . -; no port)"},
  });
}

TEST(ConfigErrors, webhooks_say_who_where_and_how_they_are_signed) {
  const auto webhook = [](const std::string& fields) {
    return with_daemon("{webhooks: [{" + fields + "}]}");
  };
  const std::string at = "daemon.webhooks[0]";
  const std::string rest = ", tenant: t, secret_file: /s";
  const auto error = [&](const std::string& url) {
    return error_of(webhook("url_prefix: '" + url + "'" + rest));
  };
  EXPECT_EQ(error("https://a.org/"), "");
  EXPECT_EQ(
      error("http://a.org/"),
      "t.yaml:3:28: key 'daemon.webhooks[0].url_prefix': value \"http://a.org/\" is of http, "
      "which anybody on the way reads and changes: use https (http is for this machine alone: "
      "127.0.0.1, [::1], localhost)");
  for (const auto& [fields, why] : std::vector<std::pair<std::string, std::string>>{
           {"url_prefix: 'https://a.org', secret_file: /s", "missing tenant"},
           {"tenant: a b, url_prefix: 'https://a.org', secret_file: /s", "is not a tenant"},
           {"tenant: t, secret_file: /s", "missing url_prefix"},
           {"tenant: t, url_prefix: 'https://a.org'", "missing secret_file"},
           {"tenant: t, url_prefix: 'https://a.org/?x', secret_file: /s", "has a query"},
           {"tenant: t, url_prefix: 'https://a.org/?', secret_file: /s", "is read as"},
           {"tenant: t, url_prefix: 'https://10.0.0.1', secret_file: /s",
            "is at a private address: give allow_private: true"},
           {"tenant: t, url_prefix: 'https://[fe80::1]', secret_file: /s",
            "is at a private address: give allow_private: true"},
           {"tenant: t, url_prefix: 'https://224.0.0.1', secret_file: /s, allow_private: true",
            "is at an unusable address"},
           {"tenant: t, url_prefix: 'https://a.org', secret_file: /s, secret: x", "secret"},
       }) {
    const std::string said = error_of(webhook(fields));
    EXPECT_NE(said.find(at), std::string::npos) << said;
    EXPECT_NE(said.find(why), std::string::npos) << said;
  }
  EXPECT_NE(
      error_of(with_daemon("{webhooks: [{tenant: t, url_prefix: 'https://a.org', secret_file: "
                           "/s}, {tenant: t, url_prefix: 'https://a.org/', secret_file: /s}]}"))
          .find("is there twice for tenant t"),
      std::string::npos);
  EXPECT_NE(error_of(with_daemon("webhooks: {}")).find("is not a list"), std::string::npos);
}

TEST(ConfigErrors, words_of_the_daemon) {
  expect_refused({
      {with_daemon("log_level: loud"),
       "t.yaml:3:14: key 'daemon.log_level': value \"loud\" is none "
       "of debug, info, warn, error"},
      {with_daemon("log_format: xml"),
       "t.yaml:3:15: key 'daemon.log_format': value \"xml\" is none of text, json"},
      {with_daemon("cpu_isa: neon"),
       "t.yaml:3:12: key 'daemon.cpu_isa': value \"neon\" is none of auto, scalar, avx2, avx512"},
      {with_params("{dtype: f64}"),
       "t.yaml:4:19: key 'models[0].params.dtype': value \"f64\" is none of f32, f16, bf16"},
      {with_params("{prefix_sharing: none}"),
       "t.yaml:4:28: key 'models[0].params.prefix_sharing': value \"none\" is none of tenant, all"},
      {with_params("{prefix_caching: false, prefix_sharing: all}"),
       "t.yaml:4:51: key 'models[0].params.prefix_sharing': value \"all\" shares nothing where "
       "prefix_caching is false"},
  });
}

TEST(ConfigErrors, tenants_are_short_words) {
  const std::string rule = "is not a tenant (1 .. 64 letters, digits, . _ -)";
  expect_refused({
      {with_daemon("tenants: {a b: c}"),
       "t.yaml:3:12: key 'daemon.tenants': \"a b\" is not a uid or user name"},
      {with_daemon("tenants: {a: 'b c'}"),
       "t.yaml:3:12: key 'daemon.tenants': value \"b c\" " + rule},
      {with_daemon("critical_tenants: ['']"),
       "t.yaml:3:21: key 'daemon.critical_tenants': value \"\" " + rule},
  });
}

}  // namespace
}  // namespace parkd
