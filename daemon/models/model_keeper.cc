#include "daemon/models/model_keeper.h"

#include <boost/asio/post.hpp>
#include <utility>

#include "daemon/control/after.h"
#include "daemon/control/on_control.h"
#include "lib/base/check.h"
#include "lib/base/log.h"

namespace parkd {
namespace {

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

}  // namespace

void ModelKeeper::load_all() {
  for (const ModelConfig& model : parts_.config.models) {
    ModelEntry entry;
    entry.retention = model.retention;
    set(model.name, std::move(entry));
    load(model);
  }
}

void ModelKeeper::load(const ModelConfig& model) {
  ModelLoader::Reports reports;
  reports.card_ready = [this, name = model.name](const ModelEntry& entry) {
    boost::asio::post(parts_.io, [this, name, entry] { set(name, entry); });
  };
  reports.on_result = [this](GenerationResult result) {
    parts_.dispatcher.on_result(std::move(result));
  };
  const auto task = [this, &model, reports] {
    auto loaded_model = std::make_shared<Result<LoadedModel>>(
        ModelLoader(parts_.config, model, device_memory_, reports).load());
    boost::asio::post(parts_.io, [this, name = model.name, loaded_model] {
      loaded(name, std::move(*loaded_model));
    });
  };
  PARKD_CHECK(parts_.blocking.run(task), "models are loaded before anything stops");
}

void ModelKeeper::set(const std::string& name, ModelEntry entry) {
  models_[name] = std::move(entry);
  parts_.show(std::make_shared<const ModelTable>(models_));
}

void ModelKeeper::loaded(const std::string& name, Result<LoadedModel> loaded) {
  ModelEntry entry = models_[name];
  if (!loaded.ok()) {
    entry.state = ModelState::failed;
    entry.failure = loaded.status().to_string();
    set(name, std::move(entry));
    return parts_.dispatcher.model_failed(name, loaded.status());
  }
  engines_[name] = std::move(loaded->engine);
  register_model(loaded->registration, std::move(loaded->port));
}

// Nothing is claimed for a name before the store has agreed that these are its files. Asked again
// for as long as it takes: a database comes back, an operator accepts the new files.
void ModelKeeper::register_model(const ModelRegistration& model, ModelPort port) {
  parts_.store.register_model(
      model, on_control<ModelRegistered>(
                 parts_.io, [this, model, port = std::move(port)](Result<ModelRegistered> answer) {
                   if (stopping_) return;
                   if (answer.ok() && answer->same) return registered(model.name, port);
                   not_registered(model, answer);
                   after(parts_.io, answer.ok() ? kFilesLookEvery : kRegisterRetryEvery,
                         [this, model, port] { register_model(model, port); });
                 }));
}

void ModelKeeper::registered(const std::string& name, const ModelPort& port) {
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

void ModelKeeper::stop_engines() {
  for (auto& [name, engine] : engines_) engine->stop();
}

}  // namespace parkd
