// ChatEndpoint: /v1/chat/completions of one model, between bodies and tokens.
//
// The doors use admit() before they acknowledge a submit; the dispatcher uses prepare() and
// render(). Immutable, so any thread may call it, and shared as shared_ptr<const ChatEndpoint>.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "lib/base/keyed_hash.h"
#include "lib/base/status.h"
#include "lib/base/units.h"
#include "lib/dispatch/model_port.h"
#include "lib/job/job.h"
#include "lib/openai/chat_request.h"

namespace parkd {

struct ModelCard;

struct ChatEndpointOptions {
  std::string model;  // its name in the config
  ChatDefaults defaults;
  int32_t context_tokens = 0;
  int32_t block_size = 0;  // tokens
  Blocks capacity;
  int32_t max_num_seqs = 0;
  bool tenants_share_prefixes = false;  // of prompts in the KV cache; false: each its own
  std::string system_fingerprint;       // names the weights and the arithmetic; empty: null
};

class ChatEndpoint {
 public:
  ChatEndpoint(std::shared_ptr<const ModelCard> card, ChatEndpointOptions options);

  // For the doors: reads and tokenises the job's body and writes its exact figures into spec.
  // Errors: invalid, with param; a body that can never run here (cost over capacity, n over the
  // sequences) is invalid too and names both numbers.
  Status admit(JobSpec& spec) const;

  // ModelPort's two functions.
  Result<PreparedJob> prepare(const Job& job) const;
  std::string render(const EndedRun& run) const;

  const ChatEndpointOptions& options() const { return options_; }

 private:
  struct Read;  // a body with its prompt as tokens
  // `created_at`: the job's, which a template may tell as the date.
  Result<Read> read(std::string_view body, std::chrono::sys_seconds created_at) const;
  PrefixRoot prefix_root(const JobSpec& spec) const;

  std::shared_ptr<const ModelCard> card_;
  ChatEndpointOptions options_;
  const HashKey salt_key_ = random_hash_key();  // a KV cache lives no longer than its endpoint
};

}  // namespace parkd
