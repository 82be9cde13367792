// HubCache: models that a Hugging Face client has fetched to this machine, found by their hf_id.
//
// An hf_id is ORG/NAME, ORG/NAME@REVISION, ORG/NAME:FILE.gguf or ORG/NAME@REVISION:FILE.gguf; the
// revision is a branch, a tag or a commit (40 hexadecimal digits), "main" where none is named.
// Pure functions over the file system, any thread. Nothing is ever downloaded, written or locked.
// Source of the layout: huggingface.co/docs/hub/local-cache.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/status.h"

namespace parkd {

struct HubId {
  std::string repository;  // "ORG/NAME"
  std::string revision = "main";
  // A path in the repository that ends in .gguf; empty: the snapshot's safetensors, or the only
  // GGUF file there.
  std::string file;
};

// Errors: invalid, which says what of the form is not kept.
Result<HubId> parse_hub_id(std::string_view hf_id);

struct HubCache {
  std::string folder;
  std::string named_by;  // the environment variable that says so, "HF_HUB_CACHE"
};

using EnvironmentVariables = std::function<std::optional<std::string>(const char* name)>;

// HF_HUB_CACHE, else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub, else
// HOME/.cache/huggingface/hub; an empty variable counts as none, a leading ~/ is HOME. Errors:
// invalid, when the value is not an absolute path, or none of them is set.
Result<HubCache> find_hub_cache(const EnvironmentVariables& variables);
// Of this process's environment.
Result<HubCache> find_hub_cache();

struct HubFile {
  std::string path;        // FOLDER/models--ORG--NAME/snapshots/COMMIT, with /FILE.gguf
  std::string repository;  // "ORG/NAME"
  std::string commit;
  std::string file;  // its path in the repository; empty: the snapshot, a directory of safetensors

  // The hf_id that names these very files and no later ones, ORG/NAME@COMMIT:FILE.gguf.
  std::string pinned_id() const {
    return repository + "@" + commit + (file.empty() ? "" : ":" + file);
  }
};

// Errors: invalid (no hf_id; several GGUF files of several models and none named),
// not_found (not in the cache: the message says where it was looked for and what would fetch it),
// denied (the cache may not be read), corrupt (a ref that is not a commit).
Result<HubFile> find_hub_file(const HubCache& cache, const std::string& hf_id);

}  // namespace parkd
