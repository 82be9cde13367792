#include "tools/simulate/arrivals.h"

#include <cmath>
#include <random>

namespace parkd::simulate {
namespace {

// The standard fixes the engine's numbers and not its distributions'.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  // In (0, 1].
  double number() { return (static_cast<double>(engine_() >> 11) + 1) * 0x1p-53; }
  int32_t around(int32_t mean) { return static_cast<int32_t>(std::ceil(mean * (0.5 + number()))); }

 private:
  std::mt19937_64 engine_;
};

}  // namespace

const std::vector<Mix>& mixes() {
  static const std::vector<Mix> all = {
      {"chat", 512, 256},
      {"long prompts, short answers", 4096, 64},
      {"short prompts, long answers", 64, 1024},
  };
  return all;
}

std::vector<Job> make_jobs(const Mix& mix, int64_t n_jobs, std::optional<double> jobs_per_s,
                           uint64_t seed) {
  Random random(seed);
  std::vector<Job> jobs;
  double now = 0;
  for (int64_t i = 0; i < n_jobs; ++i) {
    if (jobs_per_s) now -= std::log(random.number()) / *jobs_per_s;
    const int32_t prompt_tokens = random.around(mix.prompt_tokens_mean);
    jobs.push_back({now, prompt_tokens, random.around(mix.new_tokens_mean)});
  }
  return jobs;
}

}  // namespace parkd::simulate
