// /v1/files: files that clients upload for their batches, as OpenAI's API has them.
#include <utility>

#include "daemon/api/api.h"
#include "daemon/api/file_download.h"
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
  parts_.files->get_file(asked->part, asked->who().any_or_own(),
                         on_quick<StoredFile>(asked, [asked](Result<StoredFile> file) {
                           if (!file.ok()) return asked->reply(error_reply(file.status()));
                           asked->reply({.body = render_file(*file)});
                         }));
}

void Api::read_file(const AskedPtr& asked) {
  if (!has_files(asked)) return;
  parts_.files->get_file(asked->part, asked->who().any_or_own(),
                         on_quick<StoredFile>(asked, [this, asked](Result<StoredFile> file) {
                           if (!file.ok()) return asked->reply(error_reply(file.status()));
                           send_file(asked, *file);
                         }));
}

void Api::send_file(const AskedPtr& asked, const StoredFile& file) {
  const auto range = read_range(asked->request.range, file.bytes);
  if (!range.ok()) {
    HttpReply refusal = error_reply(416, range.status());
    refusal.more.emplace_back("Content-Range", "bytes */" + std::to_string(file.bytes));
    return asked->reply(std::move(refusal));
  }
  auto charge = std::make_unique<ByteBudget::Charge>(parts_.answers, asked->who());
  if (const Status charged = charge->grow(kFilePieceBytes); !charged.ok()) {
    return asked->reply(error_reply(charged));
  }
  const auto download = std::make_shared<FileDownload>(
      FileDownload::Parts{parts_.io, parts_.files, std::move(charge), asked->request.peer}, file,
      range->value_or(ByteRange{0, file.bytes}));
  asked->reply(download->reply());
}

void Api::delete_file(const AskedPtr& asked) {
  if (!has_files(asked)) return;
  parts_.files->remove_file(
      asked->part, asked->who().any_or_own(),
      on_quick<StoredFile>(asked, [asked](Result<StoredFile> file) {
        if (!file.ok()) return asked->reply(error_reply(file.status()));
        log_info("files.deleted", {{"id", file->id}, {"tenant", file->tenant}});
        asked->reply({.body = render_deleted_file(file->id)});
      }));
}

}  // namespace parkd
