// engine.*: tokens per second of continuous batching on a real model, without stores or faces.
#include "tools/bench/engine_bench.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <mutex>
#include <random>
#include <vector>

#include "kernels/cpu/measure.h"
#include "lib/backend/cpu/cpu_backend.h"
#include "lib/backend/cuda/cuda_backend.h"
#include "lib/base/check.h"
#include "lib/base/thread.h"
#include "lib/engine/engine.h"
#include "lib/model/backend.h"
#include "lib/model/model_card.h"

namespace parkd::bench {
namespace {

constexpr int32_t kBlockSize = 32;
constexpr int32_t kStepTokens = 512;
constexpr int32_t kSequencesMax = 64;
constexpr int32_t kTokensMax = 576;  // of a job

// What the engine has to hold at a time.
struct Room {
  int32_t sequences = kSequencesMax;
  int32_t tokens = kTokensMax;  // of each
  int32_t step_tokens = kStepTokens;
};

struct Load {
  int jobs;
  int32_t prompt_tokens;
  int32_t output_tokens;
  int32_t alike_tokens = 0;  // at the start of every job's prompt
  int tenants = 1;           // the jobs are theirs in turn; each shares with its own alone
};

struct Ran {
  double seconds = 0;
  int64_t prompt_tokens = 0;  // computed
  std::vector<double> job_seconds;
};

Result<std::unique_ptr<Backend>> make_backend(const Settings& settings, const ModelShape& shape) {
  if (settings.device == "cuda") {
    CudaBackendOptions options;
    options.shape = shape;
    options.tensor_core_attention = settings.tensor_cores;
    return make_cuda_backend(options);
  }
  CpuBackendOptions options;
  options.shape = shape;
  options.dtype = Dtype::bf16;
  PARKD_ASSIGN_OR_RETURN(options.isa, cpu_isa_from_string(settings.isa));
  options.team_size = 1;
  return make_cpu_backend(options);
}

class EngineUnderTest {
 public:
  EngineUnderTest(const Settings& settings, std::shared_ptr<const ModelCard> card, int n_workers,
                  bool share_prefixes, const Room& room = {})
      : card_(std::move(card)) {
    auto backend = make_backend(settings, card_->shape);
    PARKD_CHECK(backend.ok(), backend.status().to_string());
    description_ = (*backend)->describe();

    EngineOptions options;
    options.block_size = kBlockSize;
    options.n_workers = n_workers;
    options.max_num_seqs = room.sequences;
    options.step_tokens = room.step_tokens;
    options.share_prefixes = share_prefixes;
    options.on_result = [this](GenerationResult result) { on_result(std::move(result)); };
    std::vector<EngineDevice> devices;
    const int64_t blocks = ceil_div(room.tokens, kBlockSize);
    devices.push_back({std::move(backend).value(), Blocks{room.sequences * blocks}});
    auto engine = make_engine(card_, std::move(devices), std::move(options));
    PARKD_CHECK(engine.ok(), engine.status().to_string());
    engine_ = std::move(engine).value();
  }

  ~EngineUnderTest() { engine_->stop(); }
  EngineUnderTest(const EngineUnderTest&) = delete;
  EngineUnderTest& operator=(const EngineUnderTest&) = delete;

  // Random tokens in, other ones in every run, greedy tokens out, no end-of-sequence: every job
  // runs its full length.
  Ran run(const Load& load) {
    std::uniform_int_distribution<TokenId> token(17, card_->shape.vocab - 1);
    std::vector<TokenId> alike;
    for (int32_t t = 0; t < load.alike_tokens; ++t) alike.push_back(token(random_));
    {
      const std::lock_guard lock(mutex_);
      ran_ = {};
      expected_ = static_cast<size_t>(load.jobs);
      done_ = {};
      start_ = std::chrono::steady_clock::now();
    }
    auto done = done_.get_future();
    const int64_t computed_before = engine_->stats().prompt_tokens;
    for (int i = 0; i < load.jobs; ++i) {
      GenerationRequest request;
      request.id = next_id_++;
      request.prompts[0].max_new_tokens = load.output_tokens;
      request.sampling.temperature = 0;
      request.prefix_root.salt = static_cast<uint64_t>(i % load.tenants);
      request.prompts[0].tokens = alike;
      for (int32_t t = load.alike_tokens; t < load.prompt_tokens; ++t) {
        request.prompts[0].tokens.push_back(token(random_));
      }
      engine_->start(std::move(request));
    }
    done.wait();
    ran_.prompt_tokens = engine_->stats().prompt_tokens - computed_before;
    return ran_;
  }

  const std::string& description() const { return description_; }

 private:
  void on_result(GenerationResult result) {
    PARKD_CHECK(result.status.ok(), result.status.to_string());
    const std::lock_guard lock(mutex_);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
    ran_.job_seconds.push_back(elapsed.count());
    ran_.seconds = elapsed.count();
    if (ran_.job_seconds.size() == expected_) done_.set_value();
  }

  std::shared_ptr<const ModelCard> card_;
  std::string description_;
  std::mutex mutex_;  // between run() and the workers' on_result
  Ran ran_;
  size_t expected_ = 0;
  std::promise<void> done_;
  std::chrono::steady_clock::time_point start_;
  RequestId next_id_ = 1;
  std::mt19937 random_{7};
  std::unique_ptr<Engine> engine_;  // last: its workers use what stands above
};

// Multiply-accumulates of the products alone: every token passes the layers, sampled ones the head.
double layer_macs(const ModelShape& shape) {
  const double q = double(shape.n_heads) * shape.head_dim;
  const double kv = double(shape.n_kv_heads) * shape.head_dim;
  const double attention = shape.hidden * (q + 2 * kv) + q * shape.hidden;
  return shape.n_layers * (attention + 3.0 * shape.hidden * shape.ffn);
}

BenchResult measure(EngineUnderTest& engine, const ModelShape& shape, const Load& load,
                    double peak_gop_per_s) {
  Load prefill_only = load;
  prefill_only.output_tokens = 1;
  const Ran prefill = engine.run(prefill_only);
  const Ran whole = engine.run(load);
  const double prompt = double(load.jobs) * load.prompt_tokens;
  const double output = double(load.jobs) * load.output_tokens;
  const double macs =
      (prompt + output) * layer_macs(shape) + output * shape.hidden * double(shape.vocab);
  BenchResult result;
  result.name = "engine.batch_" + std::to_string(load.jobs);
  std::vector<double> job_ms;
  for (const double seconds : whole.job_seconds) job_ms.push_back(1000 * seconds);
  result.figure("total_tokens_per_s", (prompt + output) / whole.seconds)
      .figure("prompt_tokens_per_s", prompt / prefill.seconds)
      .figure("output_tokens_per_s",
              (output - load.jobs) / std::max(1e-9, whole.seconds - prefill.seconds))
      .figure("jobs_per_s", load.jobs / whole.seconds)
      .figure("p50_ms", percentile_of(job_ms, 0.50))
      .figure("p99_ms", percentile_of(job_ms, 0.99))
      .figure("peak_rss_bytes", peak_rss_bytes());
  if (peak_gop_per_s > 0) {
    result.figure("peak_fraction", 2e-9 * macs / whole.seconds / peak_gop_per_s);
  }
  return result;
}

// Prompts that begin alike, as those of a batch with one system prompt do: with what was computed
// of one shared by the others, and without.
void measure_shared_prefix(const Settings& settings, const std::shared_ptr<const ModelCard>& card,
                           int n_workers) {
  const Load load = settings.smoke ? Load{2, 40, 4, 33} : Load{64, 288, 32, 256};
  EngineUnderTest sharing(settings, card, n_workers, true);
  EngineUnderTest each_alone(settings, card, n_workers, false);
  std::vector<BenchResult> runs;
  for (int run = 0; run < settings.runs; ++run) {
    const double n_tokens = double(load.jobs) * (load.prompt_tokens + load.output_tokens);
    const double shared_s = sharing.run(load).seconds;
    const double alone_s = each_alone.run(load).seconds;
    BenchResult result;
    result.name = "engine.alike_" + std::to_string(load.alike_tokens);
    runs.push_back(result.figure("total_tokens_per_s", n_tokens / shared_s)
                       .figure("total_tokens_per_s_not_shared", n_tokens / alone_s)
                       .figure("ratio", alone_s / shared_s));
  }
  print(settings, median(std::move(runs))
                      .label("backend", sharing.description())
                      .label("workers", std::to_string(n_workers)));
}

// What prefix_sharing: tenant costs where many tenants send one system prompt.
void measure_tenants(const Settings& settings, const std::shared_ptr<const ModelCard>& card,
                     int n_workers) {
  Load load = settings.smoke ? Load{4, 40, 4, 33} : Load{60, 544, 32, 512};
  EngineUnderTest engine(settings, card, n_workers, true);
  std::vector<BenchResult> runs;
  for (int run = 0; run < settings.runs; ++run) {
    load.tenants = 1;
    const Ran all = engine.run(load);
    load.tenants = settings.smoke ? 2 : 10;
    const Ran each = engine.run(load);
    BenchResult result;
    result.name = "engine.tenants_" + std::to_string(load.tenants);
    runs.push_back(result.figure("prompt_tokens_all", double(all.prompt_tokens))
                       .figure("prompt_tokens_tenant", double(each.prompt_tokens))
                       .figure("seconds_all", all.seconds)
                       .figure("seconds_tenant", each.seconds)
                       .figure("ratio", each.seconds / all.seconds));
  }
  print(settings, median(std::move(runs))
                      .label("backend", engine.description())
                      .label("workers", std::to_string(n_workers)));
}

// The jobs that the settings name, beside nothing else.
std::vector<Load> chosen_loads(const Settings& settings) {
  std::vector<Load> loads;
  for (const int jobs : settings.sequences) {
    loads.push_back({jobs, settings.prompt_tokens, settings.output_tokens});
  }
  return loads;
}

Room room_for(const Settings& settings) {
  Room room;
  if (settings.step_tokens > 0) room.step_tokens = settings.step_tokens;
  if (settings.sequences.empty()) return room;
  room.sequences = *std::max_element(settings.sequences.begin(), settings.sequences.end());
  room.tokens = settings.prompt_tokens + settings.output_tokens;
  room.step_tokens = std::max(room.step_tokens, room.sequences);
  return room;
}

}  // namespace

void run_engine_benchmarks(const Settings& settings) {
  auto card = load_model_card(settings.model);
  PARKD_CHECK(card.ok(), card.status().to_string());
  const int n_workers = settings.threads > 0 ? settings.threads : usable_cores();
  double peak_gop_per_s = 0;  // of a device it is not measured
  if (settings.device == "cpu") {
    const cpu::Isa isa = cpu_isa_from_string(settings.isa)->value_or(cpu::detect_isa());
    peak_gop_per_s = cpu::measure_dot_peak_gop_per_s(isa) * std::min(n_workers, usable_cores());
  }
  EngineUnderTest engine(settings, *card, n_workers, true, room_for(settings));
  std::vector<Load> loads = chosen_loads(settings);
  if (loads.empty()) {
    loads = settings.smoke ? std::vector<Load>{{2, 8, 4}}
                           : std::vector<Load>{{1, 128, 128}, {8, 128, 128}, {64, 128, 128}};
  }
  for (const Load& load : loads) {
    std::vector<BenchResult> runs;
    for (int run = 0; run < settings.runs; ++run) {
      runs.push_back(measure(engine, (*card)->shape, load, peak_gop_per_s));
    }
    print(settings, median(std::move(runs))
                        .label("backend", engine.description())
                        .label("workers", std::to_string(n_workers)));
  }
  if (!settings.sequences.empty()) return;
  measure_shared_prefix(settings, *card, n_workers);
  measure_tenants(settings, *card, n_workers);
}

}  // namespace parkd::bench
