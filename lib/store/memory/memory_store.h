// The JobStore in memory: reference semantics, and the oracle the other stores are tested against.
//
// Everything is lost when it is destroyed. Small and obvious before fast: verbs scan what they
// need. Verbs may be called from any thread; each completes inside the call.
#pragma once

#include <memory>

#include "lib/base/clock.h"
#include "lib/store/store_options.h"

namespace parkd {

class JobStore;

// `clock` must outlive the store.
std::unique_ptr<JobStore> make_memory_store(StoreOptions options, Clock& clock);

}  // namespace parkd
