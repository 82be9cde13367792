#include "daemon/models/default_sampling.h"

#include "lib/base/sampling_fields.h"

namespace parkd {

SamplingParams default_sampling(const ModelParams& configured, const ModelDefaults& own) {
  SamplingParams sampling;
  for (const SamplingField& field : kSamplingFields) {
    for (const auto* given : {&own.sampling, &configured.sampling}) {  // the later one counts
      const auto found = given->find(field.name);
      if (found != given->end()) sampling.*field.member = narrowed(field, found->second);
    }
  }
  if (own.top_k) sampling.top_k = *own.top_k;
  if (configured.top_k) sampling.top_k = *configured.top_k;
  return sampling;
}

}  // namespace parkd
