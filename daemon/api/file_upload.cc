#include "daemon/api/file_upload.h"

#include <charconv>
#include <utility>

#include "daemon/control/on_control.h"
#include "lib/base/json_reader.h"
#include "lib/base/log.h"
#include "lib/openai/file_json.h"
#include "lib/store/file_rules.h"

namespace parkd {
namespace {

constexpr size_t kFieldBytesMax = 1024;
constexpr std::string_view kFile = "file";
constexpr std::string_view kPurpose = "purpose";
constexpr std::string_view kAnchor = "expires_after[anchor]";
constexpr std::string_view kSeconds = "expires_after[seconds]";

}  // namespace

HttpReply file_error_reply(const Status& status) {
  return status.error_code() == kFileTooLarge ? error_reply(413, status) : error_reply(status);
}

Result<std::shared_ptr<FileUpload>> FileUpload::begin(boost::asio::io_context& io,
                                                      std::shared_ptr<FileStore> files,
                                                      std::string tenant,
                                                      std::string_view content_type) {
  PARKD_ASSIGN_OR_RETURN(const std::string boundary, MultipartReader::boundary_of(content_type));
  return std::shared_ptr<FileUpload>(
      new FileUpload(io, std::move(files), std::move(tenant), boundary));
}

FileUpload::FileUpload(boost::asio::io_context& io, std::shared_ptr<FileStore> files,
                       std::string tenant, std::string_view boundary)
    : io_(io), files_(std::move(files)), tenant_(std::move(tenant)), reader_(boundary, *this) {}

FileUpload::~FileUpload() {
  if (!id_.empty()) files_->abandon_upload(id_);
}

// --- the form

Status FileUpload::begin_part(const MultipartPart& part) {
  const bool is_file = part.name == kFile;
  if (!is_file && part.name != kPurpose && part.name != kAnchor && part.name != kSeconds) {
    return invalid_param(part.name, "there is no form field " + shown_name(part.name) +
                                        "; there are file, purpose, expires_after[anchor] and "
                                        "expires_after[seconds]");
  }
  if (is_file ? filename_.has_value() : fields_.count(part.name) > 0) {
    return invalid_param(part.name, "the form has the field " + part.name + " twice");
  }
  if (is_file && !part.has_filename) {
    return invalid_param("file",
                         "the form field file is not a file: send it with a filename (curl "
                         "-F file=@requests.jsonl)");
  }
  part_ = part.name;
  if (!is_file) {
    fields_[part_];
    return {};
  }
  filename_ = part.filename;
  // As far as it is known: before the bytes come.
  const auto purpose = fields_.find(std::string(kPurpose));
  FileSpec spec{.filename = part.filename};
  if (purpose != fields_.end()) spec.purpose = purpose->second;
  return check_file(spec);
}

Status FileUpload::part_data(std::string_view bytes) {
  if (part_ == kFile) {
    if (bytes_.empty()) bytes_.reserve(kFilePieceBytes + kBlockBytes);
    bytes_ += bytes;
    return {};
  }
  std::string& value = fields_[part_];
  if (value.size() + bytes.size() > kFieldBytesMax) {
    return invalid_param(part_, "the form field " + part_ + " has more than " +
                                    std::to_string(kFieldBytesMax) + " bytes");
  }
  value += bytes;
  return {};
}

Status FileUpload::end_part() {
  part_.clear();
  return {};
}

Result<FileSpec> FileUpload::spec() const {
  if (!filename_) {
    return invalid_param("file",
                         "the form has no field file, which holds the requests (curl -F "
                         "purpose=batch -F file=@requests.jsonl)");
  }
  const auto field = [this](std::string_view name) {
    const auto found = fields_.find(std::string(name));
    return found == fields_.end() ? std::string() : found->second;
  };
  FileSpec spec{.filename = *filename_, .purpose = field(kPurpose)};
  const std::string anchor = field(kAnchor);
  const std::string seconds = field(kSeconds);
  if (anchor.empty() && seconds.empty()) return spec;
  if (anchor != "created_at") {
    return invalid_param("expires_after", "expires_after[anchor] is \"" + shown_name(anchor) +
                                              "\"; it must be created_at, beside "
                                              "expires_after[seconds]");
  }
  int64_t n = 0;
  const char* end = seconds.data() + seconds.size();
  const auto read = std::from_chars(seconds.data(), end, n);
  if (read.ec != std::errc() || read.ptr != end) {
    return invalid_param("expires_after", "expires_after[seconds] is \"" + shown_name(seconds) +
                                              "\"; it must be a whole number");
  }
  spec.life = std::chrono::seconds(n);
  return spec;
}

// --- the way into the store

void FileUpload::take(std::string piece, Next next) {
  if (const Status status = reader_.feed(piece); !status.ok()) {
    return next(file_error_reply(status));
  }
  store(false, [next](const Status& status) {
    next(status.ok() ? std::nullopt : std::optional(file_error_reply(status)));
  });
}

void FileUpload::store(bool all, std::function<void(Status)> then) {
  if (!filename_ || !id_.empty()) return store_piece(all, std::move(then));
  files_->begin_upload(
      tenant_, on_control<std::string>(io_, [self = shared_from_this(), all,
                                             then = std::move(then)](Result<std::string> begun) {
        if (!begun.ok()) return then(begun.status());
        self->id_ = *begun;
        self->store_piece(all, then);
      }));
}

void FileUpload::store_piece(bool all, std::function<void(Status)> then) {
  if (bytes_.size() < kFilePieceBytes && (!all || bytes_.empty())) return then(Status());
  std::string rest;
  if (bytes_.size() > kFilePieceBytes) rest = bytes_.substr(kFilePieceBytes);
  bytes_.resize(std::min(bytes_.size(), kFilePieceBytes));
  files_->append(id_, std::exchange(bytes_, std::move(rest)),
                 on_control<int64_t>(io_, [self = shared_from_this(), all,
                                           then = std::move(then)](const Result<int64_t>& added) {
                   if (!added.ok()) return then(added.status());
                   self->store_piece(all, then);
                 }));
}

void FileUpload::finish(const HttpReplier& reply) {
  const Status whole = reader_.finish();
  if (!whole.ok()) return reply(file_error_reply(whole));
  const auto spec = this->spec();
  if (!spec.ok()) return reply(file_error_reply(spec.status()));
  store(true, [self = shared_from_this(), spec = *spec, reply](const Status& status) {
    if (!status.ok()) return reply(file_error_reply(status));
    self->files_->finish_upload(
        self->id_, spec, on_control<StoredFile>(self->io_, [self, reply](Result<StoredFile> file) {
          if (!file.ok()) return reply(file_error_reply(file.status()));
          self->id_.clear();
          log_info("files.stored",
                   {{"id", file->id}, {"tenant", file->tenant}, {"bytes", file->bytes}});
          reply({.body = render_file(*file)});
        }));
  });
}

}  // namespace parkd
