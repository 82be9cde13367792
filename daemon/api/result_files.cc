// /v1/files of the results of batches: what a batch's output and error file are, while it runs and
// after.
#include <algorithm>
#include <utility>

#include "daemon/api/api.h"
#include "daemon/api/download.h"
#include "daemon/batches/batch_results.h"
#include "lib/base/log.h"
#include "lib/http/byte_range.h"
#include "lib/openai/file_json.h"
#include "lib/store/client_store.h"
#include "lib/store/file_rules.h"

namespace parkd {
namespace {

// A page of messages, and what is rendered of it.
constexpr size_t kPageBytes = 2 * kResultPageBytes;

// While it runs there may come lines, later there are none where there are none.
bool has_result(const Batch& batch, ResultKind kind, WallTime now) {
  if (!batch.spec.file || now >= *results_expire_at(batch)) return false;
  const FileProgress& at = batch.progress;
  if (at.stage == FileStage::failed || at.of(kind).deleted) return false;
  return at.stage != FileStage::ended || at.of(kind).lines > 0;
}

}  // namespace

// What there is of a result file. Of a batch that runs: up to a message.
struct Api::ResultSize {
  int64_t bytes = 0;
  int64_t lines = 0;
  uint64_t through = UINT64_MAX;  // sequence of the last message that counts
  bool is_complete = true;
};

// Walks over the messages of a batch that runs, to count its lines.
class Api::ResultScan : public std::enable_shared_from_this<Api::ResultScan> {
 public:
  using Then = std::function<void(Batch, ResultSize)>;
  ResultScan(Api& api, AskedPtr asked, Batch batch, ResultKind kind, Then then)
      : api_(api),
        asked_(std::move(asked)),
        batch_(std::move(batch)),
        kind_(kind),
        then_(std::move(then)),
        walk_(batch_) {
    size_.is_complete = false;
  }

  void next() {
    api_.parts_.store.fetch(
        walk_.request(), api_.on_quick<FetchAnswer>(
                             asked_, [self = shared_from_this()](const Result<FetchAnswer>& page) {
                               self->on_page(page);
                             }));
  }

 private:
  void on_page(const Result<FetchAnswer>& page) {
    if (!page.ok()) return asked_->reply(error_reply(page.status()));
    const ResultLines lines = result_lines(batch_, kind_, *page);
    size_.lines += lines.n_lines;
    size_.bytes += static_cast<int64_t>(lines.text.size());
    if (!walk_.take(*page)) return next();
    size_.through = walk_.reached();
    then_(std::move(batch_), size_);
  }

  Api& api_;
  const AskedPtr asked_;
  Batch batch_;
  const ResultKind kind_;
  const Then then_;
  ResultWalk walk_;
  ResultSize size_;
};

// The bytes of a result file from one of them on: its lines are rendered again, page by page.
class Api::ResultBytes final : public DownloadSource,
                               public std::enable_shared_from_this<Api::ResultBytes> {
 public:
  ResultBytes(Api& api, Principal who, Batch batch, ResultKind kind, uint64_t through, int64_t from)
      : api_(api),
        who_(std::move(who)),
        batch_(std::move(batch)),
        kind_(kind),
        through_(through),
        walk_(batch_),
        skip_(from) {}

  void read(int64_t /*most*/, Completion<std::string> done) override {
    api_.parts_.store.fetch(walk_.request(), [self = shared_from_this(),
                                              done = std::move(done)](Result<FetchAnswer> page) {
      const auto held = std::make_shared<Result<FetchAnswer>>(std::move(page));
      self->api_.work_.quick(
          self->who_, [done](const HttpReply&) { done(unavailable("there is no thread for it")); },
          [self, held, done] { self->on_page(*held, done); });
    });
  }

 private:
  void on_page(const Result<FetchAnswer>& page, const Completion<std::string>& done) {
    if (!page.ok()) return done(page.status());
    const bool is_last = walk_.take(*page);
    std::string text = result_lines(batch_, kind_, *page, through_).text;
    const auto skipped = std::min(skip_, static_cast<int64_t>(text.size()));
    skip_ -= skipped;
    text.erase(0, static_cast<size_t>(skipped));
    if (!text.empty() || is_last) return done(std::move(text));
    read(0, done);
  }

  Api& api_;
  const Principal who_;
  const Batch batch_;
  const ResultKind kind_;
  const uint64_t through_;
  ResultWalk walk_;
  int64_t skip_;
};

// Goes on with the batch where it has such a file, else answers 404.
void Api::with_result(const AskedPtr& asked, const ResultName& name, OfResult then) {
  parts_.batches.get_batch(
      name.batch_id, asked->who().any_or_own(),
      on_quick<Batch>(asked, [this, asked, name, then = std::move(then)](Result<Batch> batch) {
        if (!batch.ok() && batch.status().code() != StatusCode::not_found) {
          return asked->reply(error_reply(batch.status()));
        }
        if (!batch.ok() || !has_result(*batch, name.kind, parts_.clock.now()))
          return asked->reply(error_reply(no_such_file(asked->part)));
        then(*std::move(batch));
      }));
}

void Api::measure(const AskedPtr& asked, const ResultName& name,
                  std::function<void(Batch, ResultSize)> then) {
  with_result(asked, name, [this, asked, name, then = std::move(then)](Batch batch) {
    if (batch.progress.stage == FileStage::ended) {
      const ResultFile& file = batch.progress.of(name.kind);
      return then(std::move(batch), {file.bytes, file.lines});
    }
    std::make_shared<ResultScan>(*this, asked, std::move(batch), name.kind, then)->next();
  });
}

void Api::get_result_file(const AskedPtr& asked, const ResultName& name) {
  measure(asked, name, [asked, name](const Batch& batch, const ResultSize& size) {
    StoredFile file;
    file.id = asked->part;
    file.tenant = batch.spec.tenant;
    file.filename = batch.id + (name.kind == ResultKind::output ? "_output" : "_error") + ".jsonl";
    file.purpose = kPurposeBatchOutput;
    file.bytes = size.bytes;
    file.created_at = batch.created_at;
    file.expires_at = *results_expire_at(batch);
    asked->reply({.body = render_file(file)});
  });
}

void Api::read_result_file(const AskedPtr& asked, const ResultName& name) {
  measure(asked, name, [this, asked, name](Batch batch, const ResultSize& size) {
    const auto range = read_range(asked->request.range, size.bytes);
    if (!range.ok()) return asked->reply(no_such_range(range.status(), size.bytes));
    auto charge = std::make_unique<ByteBudget::Charge>(parts_.answers, asked->who());
    if (const Status charged = charge->grow(kPageBytes); !charged.ok()) {
      return asked->reply(error_reply(charged));
    }
    const ByteRange wanted = range->value_or(ByteRange{0, size.bytes});
    auto bytes = std::make_shared<ResultBytes>(*this, asked->who(), std::move(batch), name.kind,
                                               size.through, wanted.from);
    const auto download = std::make_shared<Download>(
        Download::Parts{parts_.io, std::move(bytes), std::move(charge), asked->request.peer},
        asked->part, size.bytes, wanted);
    HttpReply reply = download->reply();
    if (!size.is_complete) {
      reply.more.emplace_back("X-Incomplete", "true");
      reply.more.emplace_back("X-Last-Line", std::to_string(size.lines));
    }
    asked->reply(std::move(reply));
  });
}

void Api::delete_result_file(const AskedPtr& asked, const ResultName& name) {
  with_result(asked, name, [this, asked, name](const Batch& batch) {
    if (batch.progress.stage != FileStage::ended) {
      return asked->reply(error_reply(
          409, conflict("batch " + batch.id +
                        ", whose results these are, has not ended: cancel it, or wait")));
    }
    FileProgress progress = batch.progress;
    progress.of(name.kind).deleted = true;
    // A file without lines was never shown to anybody who would delete it.
    for (const ResultKind kind : {ResultKind::output, ResultKind::errors}) {
      if (progress.of(kind).lines == 0) progress.of(kind).deleted = true;
    }
    parts_.batches.advance_batch(
        batch.id, std::move(progress), on_quick<Batch>(asked, [this, asked](Result<Batch> after) {
          if (!after.ok()) return asked->reply(error_reply(after.status()));
          log_info("files.deleted", {{"id", asked->part}, {"tenant", after->spec.tenant}});
          if (!after->keeps_results()) parts_.file_batches->drop_results(*after);
          asked->reply({.body = render_deleted_file(asked->part)});
        }));
  });
}

}  // namespace parkd
