// Jobs of a simulation: when each comes, and how long its prompt and its answer are. The same for
// the same seed, on every machine. Values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace parkd::simulate {

struct Job {
  double arrival_s = 0;
  int32_t prompt_tokens = 0;
  int32_t new_tokens = 0;
};

// Lengths are even between half and one and a half of the mean.
struct Mix {
  std::string name;
  int32_t prompt_tokens_mean = 0;
  int32_t new_tokens_mean = 0;
};
const std::vector<Mix>& mixes();

// In order of arrival. Without `jobs_per_s` all are there at 0 (a batch's backlog), with it they
// come as a Poisson process.
std::vector<Job> make_jobs(const Mix& mix, int64_t n_jobs, std::optional<double> jobs_per_s,
                           uint64_t seed);

}  // namespace parkd::simulate
