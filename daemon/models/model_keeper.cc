#include "daemon/models/model_keeper.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>
#include <vector>

#include "daemon/control/after.h"
#include "daemon/control/on_control.h"
#include "lib/backend/models_outlook.h"
#include "lib/base/check.h"
#include "lib/base/guarded.h"
#include "lib/base/log.h"
#include "lib/dispatch/token_feed.h"
#include "lib/store/daemon_store.h"

namespace parkd {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(1000);
constexpr auto kOpenPatience = std::chrono::seconds(10);  // of the others, for a model's slow disk
constexpr auto kLoadAgainAfter = std::chrono::seconds(60);
constexpr auto kRegisterRetryEvery = std::chrono::milliseconds(1000);  // the database is away
constexpr auto kFilesLookEvery = std::chrono::milliseconds(10'000);    // other files are registered

std::string files_failure(const ModelRegistration& model, const Result<ModelRegistered>& answer) {
  if (!answer.ok()) return "not registered yet: " + answer.status().message();
  return "this daemon's files are " + model.content_hash + ", but " + model.name +
         " is registered with " + answer->content_hash +
         ": give it another name, use the same file and dtype, or, once no daemon serves the old "
         "files, UPDATE parkd.models SET content_hash = NULL WHERE name = '" +
         model.name + "'";
}

ResidencyRules rules_of(const Config& config, int64_t budget_bytes) {
  ResidencyRules rules;
  rules.budget_bytes = budget_bytes;
  rules.switch_wait = config.daemon.switch_wait;
  rules.idle_grace = std::min<Micros>(rules.idle_grace, rules.switch_wait);
  if (config.idle_unload) rules.idle_unload = *config.idle_unload;
  return rules;
}

// What the dispatcher says of a model.
void tell(WorkSigns& work, const ModelStats* stats) {
  if (stats == nullptr) return work.claimed(0, 0);
  work.claimed(stats->claimed, stats->preparing + stats->parked + stats->running + stats->ending);
}

}  // namespace

ModelKeeper::ModelKeeper(Parts parts)
    : parts_(std::move(parts)), residency_(rules_of(parts_.config, parts_.budget_bytes)) {}

// --- opening

void ModelKeeper::start() {
  log_info("models.memory", {{"budget_mb", parts_.budget_bytes >> 20}});
  n_to_open_ = parts_.config.models.size();
  open_patience_ends_ = now() + kOpenPatience;
  for (const ModelConfig& model : parts_.config.models) {
    ModelEntry entry;
    entry.retention = model.retention;
    entry.stay.known_since = parts_.clock.now();
    set(model.name, std::move(entry));
    kept_[model.name].config = &model;
    open(model.name, model);
  }
  look_again_soon();
}

void ModelKeeper::open(const std::string& name, const ModelConfig& model) {
  const auto task = [this, name, &model] {
    auto result = std::make_shared<Result<OpenedModel>>(
        guarded<OpenedModel>([&] { return ModelLoader(parts_.config, model, {}).open(); }));
    boost::asio::post(parts_.io, [this, name, result] { opened(name, std::move(*result)); });
  };
  PARKD_CHECK(parts_.blocking.run(task), "models are opened before anything stops");
}

void ModelKeeper::opened(const std::string& name, Result<OpenedModel> opened) {
  --n_to_open_;
  Status status = opened.status();
  if (status.ok() && opened->surely_on_cpu) {
    status = check_fits_alone(name, opened->memory, parts_.budget_bytes);
  }
  if (status.ok()) {
    ModelEntry entry = opened->entry;
    entry.state = ModelState::unloaded;
    entry.stay = models_[name].stay;
    if (opened->surely_on_cpu) entry.memory = opened->memory;
    // On a device it takes no main memory; where it turns out to run on the CPU, loaded() says so.
    residency_.add(name, entry.memory.total(), true);
    kept_[name].opened = std::move(*opened);
    models_[name] = std::move(entry);  // shown when it was looked at: it may be loaded at once
    parts_.dispatcher.model_loading(name, false);
  } else {
    fail(name, status);
  }
  if (n_to_open_ == 0) say_turns();
  look();
  show();
}

void ModelKeeper::say_turns() {
  std::vector<ModelMemory> all;
  for (const auto& [name, entry] : models_) {
    if (entry.memory.total() > 0) all.push_back({name, entry.memory.total()});
  }
  const std::string turns = describe_turns(all, parts_.budget_bytes);
  if (!turns.empty()) log_info("models.take_turns", {{"why", turns}});
}

// What was loaded once may come again (memory was short, a device was away); what never was needs
// an operator.
void ModelKeeper::fail(const std::string& name, const Status& why) {
  residency_.remove(name);
  ModelEntry entry = models_[name];
  entry.state = ModelState::failed;
  entry.failure = why.to_string();
  entry.tried_again = entry.stay.load_ms > 0;
  entry.stay.in_memory = false;
  entry.stay.waits_since.reset();
  if (entry.tried_again) {
    entry.failure += "; parkd loads it again in a minute if there is work for it";
    kept_[name].load_again_at = now() + kLoadAgainAfter;
  }
  set(name, std::move(entry));
  parts_.dispatcher.model_failed(name, why);
}

void ModelKeeper::let_try_again(const std::string& name) {
  kept_.at(name).load_again_at.reset();
  ModelEntry entry = models_[name];
  entry.state = ModelState::unloaded;
  entry.tried_again = false;
  residency_.add(name, entry.memory.total(), false);
  set(name, std::move(entry));
  parts_.dispatcher.model_loading(name, false);
}

// --- who is loaded

void ModelKeeper::work_available(const std::string& model) {
  if (!some_are_out_) return;
  boost::asio::post(parts_.io, [this, model] {
    const auto found = kept_.find(model);
    if (found == kept_.end() || found->second.engine != nullptr) return;
    if (found->second.work.came(now())) look();
  });
}

void ModelKeeper::saw_queue(const Result<StoreStats>& stats) {
  queue_seen_ = true;
  if (stats.ok()) {
    for (auto& [name, kept] : kept_) {
      const auto found =
          std::find_if(stats->models.begin(), stats->models.end(),
                       [&name](const ModelDepth& depth) { return depth.model == name; });
      kept.work.counted(found == stats->models.end() ? 0 : found->queued);
    }
  }
  look();
}

void ModelKeeper::look_again_soon() {
  after(parts_.io, kLookEvery, [this] {
    look();
    look_again_soon();
  });
}

// Not before it is known what waits for whom.
bool ModelKeeper::may_load() const {
  return queue_seen_ && (n_to_open_ == 0 || now() >= open_patience_ends_);
}

void ModelKeeper::look() {
  if (stopping_) return;
  const auto stats = parts_.dispatcher.stats();
  for (auto& [name, kept] : kept_) {
    if (kept.load_again_at && now() >= *kept.load_again_at) let_try_again(name);
    tell(kept.work, stats->model(name));
    residency_.saw(name, kept.work.has_work(now()), now());
  }
  carry_out(residency_.plan(now()));
  bool some_are_out = false;
  for (auto& [name, kept] : kept_) {
    some_are_out |= kept.opened && kept.engine == nullptr;
    const auto since = residency_.waits_since(name);
    const ModelEntry& shown = models_[name];
    if (since.has_value() == shown.stay.waits_since.has_value()) continue;
    ModelEntry entry = shown;
    entry.stay.waits_since.reset();
    if (since) entry.stay.waits_since = parts_.clock.now() - (now() - *since);
    set(name, std::move(entry));
  }
  some_are_out_ = some_are_out;
}

void ModelKeeper::carry_out(const Residency::Plan& plan) {
  for (auto& [name, kept] : kept_) {
    if (kept.engine == nullptr) continue;
    const bool leaves = plan.leaving.contains(name);
    if (leaves && !kept.unloading) unload(name);
    if (!leaves && kept.unloading) keep(name);
  }
  if (plan.load && may_load()) load(*plan.load, plan.is_switch);
}

// --- loading

void ModelKeeper::load(const std::string& name, bool is_switch) {
  Kept& kept = kept_.at(name);
  const int64_t room_bytes = residency_.budget_bytes() - residency_.used_bytes();
  residency_.load_began(name, now());
  kept.load_began = now();
  kept.work.load_began();
  ++kept.generation;
  ModelEntry entry = models_[name];
  entry.state = ModelState::loading;
  entry.loaded_bytes = 0;
  entry.stay.in_memory = true;
  ++entry.stay.loads;
  entry.stay.switches += is_switch ? 1 : 0;
  set(name, std::move(entry));
  parts_.dispatcher.model_loading(name, true);
  log_info("model.load", {{"model", name}, {"room_mb", room_bytes >> 20}, {"switch", is_switch}});

  ModelLoader::Reports reports;
  reports.loading = [this, name](const ModelEntry& said) {
    boost::asio::post(parts_.io, [this, name, shown = said]() mutable {
      shown.stay = models_[name].stay;
      set(name, std::move(shown));
    });
  };
  reports.stopping = [this] { return stopping_.load(); };
  reports.on_tokens = [this](std::span<const TokenEvent> events) { parts_.tokens.push(events); };
  reports.on_result = [this](GenerationResult result) {
    parts_.dispatcher.on_result(std::move(result));
  };
  const auto task = [this, name, model = kept.config, known = *kept.opened, room_bytes, reports] {
    auto result = std::make_shared<Result<LoadedModel>>(guarded<LoadedModel>(
        [&] { return ModelLoader(parts_.config, *model, reports).load(known, room_bytes); }));
    boost::asio::post(parts_.io, [this, name, result] { loaded(name, std::move(*result)); });
  };
  // Refused only when the process is stopping.
  if (!parts_.blocking.run(task)) log_warn("model.not_loaded", {{"model", name}});
}

void ModelKeeper::loaded(const std::string& name, Result<LoadedModel> loaded) {
  Kept& kept = kept_.at(name);
  if (!loaded.ok()) {
    if (stopping_) return;
    fail(name, loaded.status());
    return look();
  }
  if (loaded->engine == nullptr) {  // it would have to run on the CPU: then it waits for room there
    residency_.left(name, now());
    const CpuMemory& memory = kept.opened->memory;
    if (const Status fits = check_fits_alone(name, memory, parts_.budget_bytes); !fits.ok()) {
      fail(name, fits);
      return look();
    }
    residency_.add(name, memory.total(), true);
    ModelEntry entry = models_[name];
    entry.memory = memory;
    entry.stay.in_memory = false;
    entry.state = ModelState::unloaded;
    set(name, std::move(entry));
    parts_.dispatcher.model_loading(name, false);
    return look();
  }
  residency_.takes(name, loaded->main_memory_bytes);
  residency_.load_ended(name, now());
  kept.engine = std::move(loaded->engine);
  kept.registered = false;
  kept.work.loaded();
  ModelEntry entry = models_[name];
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(now() - kept.load_began);
  entry.stay.load_ms = std::max<int64_t>(1, took.count());
  set(name, std::move(entry));
  register_model(kept.generation, loaded->registration, std::move(loaded->port));
  look();
}

// --- unloading

void ModelKeeper::unload(const std::string& name) {
  Kept& kept = kept_.at(name);
  kept.unloading = true;
  set_state(name, ModelState::unloading);
  parts_.dispatcher.unload_model(name, [this, name, asked = ++kept.asked] {
    boost::asio::post(parts_.io, [this, name, asked] { let_go(name, asked); });
  });
}

void ModelKeeper::keep(const std::string& name) {
  Kept& kept = kept_.at(name);
  kept.unloading = false;
  set_state(name, kept.registered ? ModelState::ready : ModelState::loading);
  parts_.dispatcher.keep_model(name);
}

// The engine is not used any more. Its memory is given back on a blocking thread: that of a large
// model takes a while.
void ModelKeeper::let_go(const std::string& name, uint64_t asked) {
  Kept& kept = kept_.at(name);
  if (asked != kept.asked) return;
  kept.unloading = true;  // keep() may have come too late
  kept.work.unloaded();
  set_state(name, ModelState::unloading);
  const auto engine = std::make_shared<std::unique_ptr<Engine>>(std::move(kept.engine));
  const auto task = [this, name, engine] {
    (*engine)->stop();
    engine->reset();
    boost::asio::post(parts_.io, [this, name] { unloaded(name); });
  };
  // Refused only when the process is stopping.
  if (!parts_.blocking.run(task)) log_warn("model.not_unloaded", {{"model", name}});
}

void ModelKeeper::unloaded(const std::string& name) {
  Kept& kept = kept_.at(name);
  kept.unloading = false;
  residency_.left(name, now());
  ModelEntry entry = models_[name];
  entry.state = ModelState::unloaded;
  entry.stay.in_memory = false;
  entry.failure.clear();
  entry.files_differ = false;
  set(name, std::move(entry));
  parts_.dispatcher.model_loading(name, false);
  log_info("model.unloaded", {{"model", name}});
  look();
}

// --- registering

// Nothing is claimed for a name before the store has agreed that these are its files. Asked again
// for as long as it takes: a database comes back, an operator accepts the new files.
void ModelKeeper::register_model(uint64_t generation, const ModelRegistration& model,
                                 ModelPort port) {
  const auto answered = [this, generation, model, port](const Result<ModelRegistered>& answer) {
    const Kept& kept = kept_.at(model.name);
    // Its engine may be gone meanwhile, or about to be.
    if (stopping_ || kept.generation != generation || kept.engine == nullptr) return;
    if (answer.ok() && answer->same && !kept.unloading) return registered(model.name, port);
    if (!answer.ok() || !answer->same) not_registered(model, answer);
    after(parts_.io, answer.ok() ? kFilesLookEvery : kRegisterRetryEvery,
          [this, generation, model, port] { register_model(generation, model, port); });
  };
  parts_.store.register_model(model, on_control<ModelRegistered>(parts_.io, answered));
}

void ModelKeeper::registered(const std::string& name, const ModelPort& port) {
  Kept& kept = kept_.at(name);
  kept.registered = true;
  ++kept.asked;
  ModelEntry entry = models_[name];
  entry.state = ModelState::ready;
  entry.failure.clear();
  entry.files_differ = false;
  set(name, std::move(entry));
  parts_.dispatcher.model_ready(name, port);
}

void ModelKeeper::not_registered(const ModelRegistration& model,
                                 const Result<ModelRegistered>& answer) {
  ModelEntry entry = models_[model.name];
  const std::string before = std::exchange(entry.failure, files_failure(model, answer));
  if (entry.failure == before) return;  // said already
  entry.files_differ = answer.ok();
  if (entry.files_differ) {
    entry.state = ModelState::failed;
    parts_.dispatcher.model_failed(model.name, conflict(entry.failure));
  } else {
    log_warn("model.not_registered",
             {{"model", model.name}, {"error", answer.status().to_string()}});
  }
  set(model.name, std::move(entry));
}

// --- what others see

void ModelKeeper::set(const std::string& name, ModelEntry entry) {
  models_[name] = std::move(entry);
  show();
}

void ModelKeeper::show() {
  parts_.show(std::make_shared<const ModelTable>(models_));
}

void ModelKeeper::set_state(const std::string& name, ModelState state) {
  ModelEntry entry = models_[name];
  entry.state = state;
  set(name, std::move(entry));
}

void ModelKeeper::for_each_engine(
    const std::function<void(const std::string&, const Engine&)>& f) const {
  for (const auto& [name, kept] : kept_) {
    if (kept.engine != nullptr) f(name, *kept.engine);
  }
}

void ModelKeeper::stop_engines() {
  for (auto& [name, kept] : kept_) {
    if (kept.engine != nullptr) kept.engine->stop();
  }
}

}  // namespace parkd
