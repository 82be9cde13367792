// /v1/files: files that clients upload for their batches, as OpenAI's API has them.
#include <algorithm>
#include <utility>

#include "daemon/api/api.h"
#include "daemon/api/download.h"
#include "daemon/api/file_upload.h"
#include "lib/base/json_reader.h"
#include "lib/base/log.h"
#include "lib/http/byte_range.h"
#include "lib/job/bounds.h"
#include "lib/openai/file_json.h"
#include "lib/store/file_rules.h"

namespace parkd {
namespace {

// The fields beside the file, and what stands between them.
constexpr size_t kFormBytesMax = 64 << 10;

Status no_file_store() {
  return invalid(
      "this daemon keeps its queue in memory (parking_lot.queue.backend: memory), and so no files: "
      "choose backend rocksdb or postgres");
}

// A stored file's bytes from one of them on, piece by piece.
class StoredBytes final : public DownloadSource {
 public:
  StoredBytes(std::shared_ptr<FileStore> files, StoredFile file, int64_t from)
      : files_(std::move(files)), file_(std::move(file)), position_(from) {}

  void read(int64_t most, Completion<std::string> done) override {
    constexpr auto kPiece = static_cast<int64_t>(kFilePieceBytes);
    const int64_t skipped = position_ % kPiece;
    const int64_t wanted = std::min(kPiece - skipped, most);
    const int64_t n = position_ / kPiece;
    position_ += wanted;
    // Cut on the store's thread: the control thread copies no piece.
    files_->read_piece(
        file_.id, file_.tenant, n,
        [skipped, wanted, done = std::move(done)](Result<std::string> piece) {
          if (!piece.ok()) return done(std::move(piece));
          const auto size = static_cast<int64_t>(piece->size());
          if (size < skipped + wanted) {
            return done(corrupt("a piece of " + std::to_string(size) + " bytes is too short"));
          }
          if (skipped == 0 && size == wanted) return done(std::move(piece));
          done(piece->substr(static_cast<size_t>(skipped), static_cast<size_t>(wanted)));
        });
  }

 private:
  const std::shared_ptr<FileStore> files_;
  const StoredFile file_;
  int64_t position_;
};

}  // namespace

// Before the body is read: what takes it.
void Api::admit_upload(const HttpRequest& request, HttpAdmission& admission,
                       std::shared_ptr<FileUpload>& upload) {
  if (const Status may = may_accept(); !may.ok()) {
    admission.refusal = error_reply(may);
  } else if (parts_.files == nullptr) {
    admission.refusal = error_reply(no_file_store());
  } else {
    auto begun =
        FileUpload::begin(parts_.io, parts_.files, admission.who.tenant, request.content_type);
    if (!begun.ok()) {
      admission.refusal = error_reply(begun.status());
      return;
    }
    upload = *std::move(begun);
    admission.sink = upload;
    admission.sink_bytes = kFilePieceBytes + kBlockBytes;
    admission.body_bytes_max =
        static_cast<size_t>(parts_.config.daemon.files.max_file_mb << 20) + kFormBytesMax;
    admission.body_limit_key = "daemon.files.max_file_mb";
  }
}

void Api::upload_file(const AskedPtr& asked) {
  asked->upload->finish(asked->reply);
}

bool Api::has_files(const AskedPtr& asked) const {
  if (parts_.files == nullptr) asked->reply(error_reply(no_file_store()));
  return parts_.files != nullptr;
}

void Api::list_files(const AskedPtr& asked) {
  if (!has_files(asked)) return;
  const auto& query = asked->request.query;
  const auto limit = query_number(asked->request, "limit", kFilesListedMax, 1, kFilesListedMax);
  if (!limit.ok()) return asked->reply(error_reply(limit.status()));
  const auto text = [&query](const char* name) {
    const auto found = query.find(name);
    return found == query.end() ? std::string() : found->second;
  };
  FileFilter filter;
  filter.limit = static_cast<int32_t>(*limit) + 1;  // whether there are more
  filter.after = text("after");
  filter.purpose = text("purpose");
  const std::string order = text("order");
  if (!order.empty() && order != "asc" && order != "desc") {
    return asked->reply(error_reply(
        invalid_param("order", "order is \"" + shown_name(order) + "\", it must be asc or desc")));
  }
  filter.oldest_first = order == "asc";
  if (const std::string own = asked->who().any_or_own(); !own.empty()) filter.tenant = own;
  parts_.files->list_files(std::move(filter),
                           on_quick<std::vector<StoredFile>>(
                               asked, [asked, n_shown = static_cast<size_t>(*limit)](auto files) {
                                 if (!files.ok()) return asked->reply(error_reply(files.status()));
                                 const bool has_more = files->size() > n_shown;
                                 if (has_more) files->pop_back();
                                 asked->reply({.body = render_files(*files, has_more)});
                               }));
}

void Api::get_file(const AskedPtr& asked) {
  if (!has_files(asked)) return;
  if (const auto name = parse_result_file_id(asked->part)) return get_result_file(asked, *name);
  parts_.files->get_file(asked->part, asked->who().any_or_own(),
                         on_quick<StoredFile>(asked, [asked](Result<StoredFile> file) {
                           if (!file.ok()) return asked->reply(error_reply(file.status()));
                           asked->reply({.body = render_file(*file)});
                         }));
}

void Api::read_file(const AskedPtr& asked) {
  if (!has_files(asked)) return;
  if (const auto name = parse_result_file_id(asked->part)) return read_result_file(asked, *name);
  parts_.files->get_file(asked->part, asked->who().any_or_own(),
                         on_quick<StoredFile>(asked, [this, asked](Result<StoredFile> file) {
                           if (!file.ok()) return asked->reply(error_reply(file.status()));
                           send_file(asked, *file);
                         }));
}

void Api::send_file(const AskedPtr& asked, const StoredFile& file) {
  const auto range = read_range(asked->request.range, file.bytes);
  if (!range.ok()) return asked->reply(no_such_range(range.status(), file.bytes));
  auto charge = std::make_unique<ByteBudget::Charge>(parts_.answers, asked->who());
  if (const Status charged = charge->grow(kFilePieceBytes); !charged.ok()) {
    return asked->reply(error_reply(charged));
  }
  const ByteRange wanted = range->value_or(ByteRange{0, file.bytes});
  auto bytes = std::make_shared<StoredBytes>(parts_.files, file, wanted.from);
  const auto download = std::make_shared<Download>(
      Download::Parts{parts_.io, std::move(bytes), std::move(charge), asked->request.peer}, file.id,
      file.bytes, wanted);
  asked->reply(download->reply());
}

void Api::delete_file(const AskedPtr& asked) {
  if (!has_files(asked)) return;
  if (const auto name = parse_result_file_id(asked->part)) return delete_result_file(asked, *name);
  BatchFilter filter;
  filter.reads_file = asked->part;
  filter.limit = 1;
  if (const std::string own = asked->who().any_or_own(); !own.empty()) filter.tenant = own;
  parts_.batches.list_batches(
      std::move(filter),
      on_quick<std::vector<Batch>>(asked, [this, asked](Result<std::vector<Batch>> batches) {
        if (!batches.ok()) return asked->reply(error_reply(batches.status()));
        if (batches->empty()) return remove_file(asked);
        asked->reply(error_reply(
            409, conflict("file " + asked->part + " is being read by batch " + batches->front().id +
                          ": cancel that first, or wait until its requests are queued")));
      }));
}

void Api::remove_file(const AskedPtr& asked) {
  parts_.files->remove_file(
      asked->part, asked->who().any_or_own(),
      on_quick<StoredFile>(asked, [asked](Result<StoredFile> file) {
        if (!file.ok()) return asked->reply(error_reply(file.status()));
        log_info("files.deleted", {{"id", file->id}, {"tenant", file->tenant}});
        asked->reply({.body = render_deleted_file(file->id)});
      }));
}

}  // namespace parkd
