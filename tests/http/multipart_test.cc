#include "lib/http/multipart.h"

#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/multipart_events.h"

namespace parkd::testing {
namespace {

bool holds(const std::string& text, std::string_view part) {
  return text.find(part) != text.npos;
}

std::string told_of(const std::string& boundary, const std::string& body) {
  const MultipartEvents events = multipart_events(boundary, body);
  return events.told + (events.end.ok() ? "" : events.end.to_string());
}

const std::string kFile = "Content-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n";

// A form of one part with this header.
std::string form_of(const std::string& header, const std::string& data = "x") {
  return "--b\r\n" + header + "\r\n" + data + "\r\n--b--\r\n";
}

// As each client wrote it, but for the random part of its boundary.
struct ClientForm {
  const char* client;
  const char* content_type;
  std::string body;
  std::string told;
};

const std::string kToldForm =
    "purpose|<no filename>|\nbatch\n<end>\nfile|a.jsonl|application/octet-stream\n{}\n\n<end>\n";

const std::vector<ClientForm> kClientForms = {
    {"curl", "multipart/form-data; boundary=------------------------d74496d66958873e",
     "--------------------------d74496d66958873e\r\n"
     "Content-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n"
     "--------------------------d74496d66958873e\r\n"
     "Content-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n"
     "Content-Type: application/octet-stream\r\n\r\n{}\n\r\n"
     "--------------------------d74496d66958873e--\r\n",
     kToldForm},
    {"httpx", "multipart/form-data; boundary=9d3f1bbd80c0d9f3f8a2d5f7c1f4a6e0",
     "--9d3f1bbd80c0d9f3f8a2d5f7c1f4a6e0\r\n"
     "Content-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n"
     "--9d3f1bbd80c0d9f3f8a2d5f7c1f4a6e0\r\n"
     "Content-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n"
     "Content-Type: application/octet-stream\r\n\r\n{}\n\r\n"
     "--9d3f1bbd80c0d9f3f8a2d5f7c1f4a6e0--\r\n",
     kToldForm},
    {"node form-data", "multipart/form-data; boundary=--------------------------04613893",
     "----------------------------04613893\r\n"
     "Content-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n"
     "----------------------------04613893\r\n"
     "Content-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n"
     "Content-Type: application/octet-stream\r\n\r\n{}\n\r\n"
     "----------------------------04613893--\r\n",
     kToldForm},
    {"Go", "multipart/form-data; boundary=1aa34cf0e6ee39e4",
     "--1aa34cf0e6ee39e4\r\n"
     "Content-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n"
     "--1aa34cf0e6ee39e4\r\n"
     "Content-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n"
     "Content-Type: application/octet-stream\r\n\r\n{}\n\r\n"
     "--1aa34cf0e6ee39e4--\r\n",
     kToldForm},
    {".NET", "multipart/form-data; boundary=\"6d5c1a1e-0001\"",
     "--6d5c1a1e-0001\r\n"
     "Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; "
     "name=purpose\r\n\r\n"
     "batch\r\n--6d5c1a1e-0001\r\n"
     "Content-Disposition: form-data; name=file; filename=a.jsonl; filename*=utf-8''a.jsonl\r\n\r\n"
     "{}\n\r\n--6d5c1a1e-0001--\r\n",
     "purpose|<no filename>|text/plain; charset=utf-8\nbatch\n<end>\nfile|a.jsonl|\n{}\n\n<end>\n"},
    {"a browser", "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
     "------WebKitFormBoundary7MA4YWxkTrZu0gW\r\n"
     "Content-Disposition: form-data; name=\"file\"; filename=\"\"\r\n"
     "Content-Type: application/octet-stream\r\n\r\n\r\n"
     "------WebKitFormBoundary7MA4YWxkTrZu0gW--\r\n",
     "file||application/octet-stream\n\n<end>\n"},
    {"a browser's empty form", "multipart/form-data; boundary=----WebKitFormBoundary",
     "------WebKitFormBoundary--\r\n", ""},
};

TEST(Multipart, is_read_as_clients_write_it_wherever_it_is_cut) {
  for (const ClientForm& form : kClientForms) {
    SCOPED_TRACE(form.client);
    const auto boundary = MultipartReader::boundary_of(form.content_type);
    ASSERT_TRUE(boundary.ok()) << boundary.status().to_string();
    EXPECT_EQ(told_of(*boundary, form.body), form.told);
    for (size_t cut = 1; cut < form.body.size(); ++cut) {
      const MultipartEvents events = multipart_events(*boundary, form.body, [&] { return cut; });
      ASSERT_TRUE(events.end.ok()) << cut << " " << events.end.to_string();
      ASSERT_EQ(events.told, form.told) << cut;
    }
  }
}

TEST(Multipart, boundaries_are_as_rfc_2046_has_them_in_quotes_or_not) {
  const std::string longest(70, 'x');
  for (const auto& [type, boundary] : std::vector<std::pair<std::string, std::string>>{
           {"multipart/form-data; boundary=b", "b"},
           {"Multipart/Form-Data;charset=utf-8;BOUNDARY=b", "b"},
           {"multipart/form-data ;\tboundary=\"a b'()+_,-./:=?\" ; x=y", "a b'()+_,-./:=?"},
           {"multipart/form-data; boundary===1==", "==1=="},
           {"multipart/form-data; boundary=" + longest, longest}}) {
    const auto read = MultipartReader::boundary_of(type);
    ASSERT_TRUE(read.ok()) << type << " " << read.status().to_string();
    EXPECT_EQ(*read, boundary);
  }
  for (const auto& [type, why] : std::vector<std::pair<std::string, std::string>>{
           {"", "sent as multipart/form-data"},
           {"application/json", "sent as multipart/form-data"},
           {"multipart/mixed; boundary=b", "sent as multipart/form-data"},
           {"multipart/form-data", "without the boundary"},
           {"multipart/form-data; boundary", "\"boundary\" is not a parameter"},
           {"multipart/form-data; boundary=", "its boundary has no value"},
           {"multipart/form-data; boundary=\"\"", "1 to 70"},
           {"multipart/form-data; boundary=\"b", "do not end"},
           {"multipart/form-data; boundary=\"b \"", "1 to 70"},
           {"multipart/form-data; boundary=b;", "is not a parameter"},
           {"multipart/form-data; boundary=b c", "\"c\""},
           {"multipart/form-data; boundary=b; boundary=b", "two parameters"},
           {"multipart/form-data; boundary=b\xc3\xa4", "1 to 70"},
           {"multipart/form-data; boundary=" + longest + "x", "1 to 70"}}) {
    const auto read = MultipartReader::boundary_of(type);
    ASSERT_FALSE(read.ok()) << type;
    EXPECT_EQ(read.status().code(), StatusCode::invalid);
    EXPECT_TRUE(holds(read.status().message(), why)) << type << ": " << read.status().message();
    EXPECT_TRUE(holds(read.status().message(), "Content-Type is")) << read.status().message();
  }
}

TEST(Multipart, what_stands_around_the_parts_is_passed_over) {
  const std::string part = "--b \t \r\n" + kFile + "\r\n1\r\n2\r\n--b--";
  const std::string told = "file|a.jsonl|\n1\r\n2\n<end>\n";
  EXPECT_EQ(told_of("b", part), told);
  EXPECT_EQ(told_of("b", "\r\n" + part + "\r\n"), told);
  EXPECT_EQ(told_of("b", "This is a form.\r\n-\r\n --b\r\n" + part + " \r\nIt was one.\r\n--b\r\n"),
            told);
}

TEST(Multipart, a_part_that_has_a_header_alone_is_empty) {
  const std::string told = "file|a.jsonl|\n\n<end>\nfile|a.jsonl|\n\n<end>\n";
  EXPECT_EQ(told_of("b", "--b\r\n" + kFile + "\r\n\r\n--b\r\n" + kFile + "\r\n\r\n--b--"), told);
  EXPECT_EQ(told_of("b", "--b\r\n" + kFile + "\r\n--b\r\n" + kFile + "\r\n--b--"), told)
      << "RFC 2046: the CRLF before a boundary belongs to it";
}

TEST(Multipart, names_are_as_browsers_curl_and_go_write_them) {
  const auto line = [](const std::string& parameters) {
    return told_of("b", form_of("content-DISPOSITION:form-data; " + parameters + "\r\n"));
  };
  EXPECT_EQ(line("name=\"a%22b%0D%0Ac%20%2\""), "a\"b__c%20%2|<no filename>|\nx\n<end>\n");
  EXPECT_EQ(line(R"(name="f"; filename="a\"b\\c\d; name=.txt")"),
            "f|a\"b\\c\\d; name=.txt|\nx\n<end>\n");
  EXPECT_EQ(line("filename=\"\xc3\xa4.jsonl\" ; NAME=f ;size=1"), "f|\xc3\xa4.jsonl|\nx\n<end>\n");
  EXPECT_EQ(line("name=\"\""), "|<no filename>|\nx\n<end>\n");
  EXPECT_EQ(line("name=f; filename*=utf-8''b; filename=a"), "f|a|\nx\n<end>\n");
}

TEST(Multipart, other_headers_say_nothing) {
  EXPECT_EQ(told_of("b", form_of("X-Any: thing\r\nContent-Type:  a/b; c=d \t\r\n" + kFile +
                                 "Content-Transfer-Encoding: Binary\r\nContent-Length: 1\r\n")),
            "file|a.jsonl|a/b; c=d\nx\n<end>\n");
  for (const char* plain : {"7bit", "8bit", "BINARY"}) {
    const std::string coding = std::string("Content-Transfer-Encoding: ") + plain + "\r\n";
    EXPECT_EQ(told_of("b", form_of(coding + kFile)), "file|a.jsonl|\nx\n<end>\n");
  }
}

TEST(Multipart, what_is_wrong_is_named) {
  const std::string name = "Content-Disposition: form-data; name=f";
  const std::string whole = form_of(kFile);
  for (const auto& [body, why] : std::vector<std::pair<std::string, std::string>>{
           {"", "no boundary \"--b\""},
           {"{\"purpose\": \"batch\"}", "no boundary \"--b\""},
           {"x--b\r\n", "no boundary"},
           {whole.substr(0, whole.size() - 4), "ends before its last boundary, \"--b--\""},
           {"--b", "ends before its last boundary"},
           {"--b-", "ends before its last boundary"},
           {"--b\r\n", "ends before its last boundary"},
           {"--b\r\n" + kFile, "ends before its last boundary"},
           {"--bc\r\n" + kFile, "behind boundary 1 of the form"},
           {"--b\n" + kFile, "behind boundary 1 of the form"},
           {"--b\r\r\n", "behind boundary 1 of the form"},
           {"--b -\r\n", "behind boundary 1 of the form"},
           {"--b-\r\n", "behind boundary 1 of the form"},
           {form_of(kFile, "1\r\n--bb"), "behind boundary 2 of the form"},
           {form_of(""), "part 1 of the form: it has no Content-Disposition"},
           {form_of("Content-Type: a/b\r\n"), "it has no Content-Disposition"},
           {form_of(name + "\n"), "without a CR"},
           {form_of(name + "\rX: y\r\n"), "control characters"},
           {form_of(name + std::string("\0", 1) + "\r\n"), "control characters"},
           {form_of(name + ";\r\n filename=a\r\n"), "folded"},
           {form_of("\tX: y\r\n" + kFile), "folded"},
           {form_of("X y\r\n" + kFile), "\"X y\" is not a header"},
           {form_of("X : y\r\n" + kFile), "\"X : y\" is not a header"},
           {form_of(": y\r\n" + kFile), "\": y\" is not a header"},
           {form_of(kFile + kFile), "two headers \"Content-Disposition\""},
           {form_of(kFile + "Content-Type: a\r\ncontent-type: b\r\n"), "two headers"},
           {form_of("Content-Disposition: attachment; name=f\r\n"), "form's parts have form-data"},
           {form_of("Content-Disposition: form-data\r\n"), "has no name"},
           {form_of("Content-Disposition: form-data; filename=f\r\n"), "has no name"},
           {form_of(name + "; name=g\r\n"), "two parameters \"name\""},
           {form_of(name + "; filename*=utf-8''a\r\n"), "filename* alone"},
           {form_of(name + "; filename=\"a\r\n"), "quotes of its filename do not end"},
           {form_of(name + "; filename=\"a\\\"\r\n"), "quotes of its filename do not end"},
           {form_of(name + "; filename=\"a\"b\r\n"), "behind its filename stands \"b\""},
           {form_of(name + "; filename\r\n"), "is not a parameter"},
           {form_of(name + ";; filename=a\r\n"), "is not a parameter"},
           {form_of(name + "; filename=\"\xff\"\r\n"), "filename is not UTF-8"},
           {form_of(kFile + "Content-Transfer-Encoding: base64\r\n"), "\"base64\"; parkd takes"}}) {
    const MultipartEvents events = multipart_events("b", body);
    EXPECT_EQ(events.end.code(), StatusCode::invalid) << body;
    EXPECT_TRUE(holds(events.end.message(), why)) << body << "\n" << events.end.message();
    EXPECT_EQ(multipart_events("b", body, [] { return 1; }), events) << body;
  }
}

TEST(Multipart, a_header_has_8_kib_and_a_form_32_parts) {
  const std::string filled =
      kFile + "X: " + std::string(kPartHeaderBytesMax - kFile.size() - 7, 'x') + "\r\n";
  EXPECT_EQ(told_of("b", form_of(filled)), "file|a.jsonl|\nx\n<end>\n");
  EXPECT_TRUE(holds(told_of("b", form_of("Y" + filled)), "header has more than 8192 bytes"));
  const std::string part = "--b\r\n" + kFile + "\r\n\r\n";
  std::string form;
  for (size_t i = 0; i < kPartsMax; ++i) form += part;
  EXPECT_TRUE(multipart_events("b", form + "--b--").end.ok());
  EXPECT_TRUE(holds(told_of("b", form + part + "--b--"), "more than 32 parts"));
}

TEST(Multipart, no_more_than_a_boundary_is_held_back) {
  std::string told;
  MultipartRecorder recorder(told);
  MultipartReader reader("bound", recorder);
  ASSERT_TRUE(reader.feed("--bound\r\n" + kFile + "\r\n").ok());
  const size_t before = told.size();
  const std::string data = "abc\r\n--boun\r\r\n--bound";
  for (size_t i = 0; i + 1 < data.size(); ++i) {
    ASSERT_TRUE(reader.feed(data.substr(i, 1)).ok());
    const size_t came = i + 1;
    const size_t n_told = told.size() - before;
    EXPECT_LE(came - n_told, std::string_view("\r\n--boun").size());
    if (came <= 3) {
      EXPECT_EQ(n_told, came) << "nothing like a boundary";
    }
  }
}

TEST(Multipart, what_its_sink_refuses_ends_it_and_the_first_error_is_kept) {
  class Refuser : public MultipartReader::Sink {
   public:
    explicit Refuser(int at) : at_(at) {}
    Status begin_part(const MultipartPart&) override { return say(0); }
    Status part_data(std::string_view) override { return say(1); }
    Status end_part() override { return say(2); }
    int n_calls = 0;

   private:
    Status say(int which) {
      ++n_calls;
      return which == at_ ? exhausted("no " + std::to_string(which)) : Status();
    }
    int at_;
  };
  for (const int at : {0, 1, 2}) {
    Refuser refuser(at);
    MultipartReader reader("b", refuser);
    const Status refused = reader.feed(form_of(kFile));
    EXPECT_EQ(refused.code(), StatusCode::exhausted);
    EXPECT_EQ(reader.feed("x").message(), "no " + std::to_string(at));
    EXPECT_EQ(reader.finish().message(), "no " + std::to_string(at));
    EXPECT_EQ(refuser.n_calls, at + 1);
  }
}

// The oracle: the whole text, split at its boundaries. Nothing where it is no form.
std::optional<std::string> split(const std::string& boundary, const std::string& body) {
  const std::string text = "\r\n" + body;
  const std::string delimiter = "\r\n--" + boundary;
  std::string told;
  size_t at = text.find(delimiter);
  for (size_t n_parts = 1; at != text.npos; ++n_parts) {
    at += delimiter.size();
    if (text.compare(at, 2, "--") == 0) return told;
    at = text.find_first_not_of(" \t", at);
    if (at == text.npos || text.compare(at, 2, "\r\n") != 0 || n_parts > kPartsMax) break;
    const size_t blank = text.find("\r\n\r\n", at);  // that ends the header
    if (blank == text.npos || blank + 2 - at > kPartHeaderBytesMax) break;
    const auto part = read_part_header(std::string_view(text).substr(at + 2, blank - at));
    if (!part.ok()) break;
    at = text.find(delimiter, blank + 2);
    if (at == text.npos) break;
    told += MultipartRecorder::line_of(*part);
    if (at > blank + 4) told += text.substr(blank + 4, at - blank - 4);
    told += "\n<end>\n";
  }
  return std::nullopt;
}

class RandomForm {
 public:
  explicit RandomForm(uint64_t seed) : random_(seed) {}

  size_t below(size_t n) { return random_() % n; }

  std::string boundary() {
    const std::vector<std::string> some = {
        "b", "-", "--", "a-b", "------x", "--b", "b--", "bb--bb--", std::string(70, '-')};
    return some[below(some.size())];
  }

  // With a chance that it is none.
  std::string form(const std::string& boundary) {
    std::string text = below(2) == 0 ? "" : noise(boundary) + "\r\n";
    for (size_t n = below(5); n > 0; --n) {
      text += "--" + boundary + std::string(below(3), ' ') + "\r\n" + kFile;
      if (below(3) == 0) text += "Content-Type: text/plain\r\n";
      text += "\r\n" + (below(6) == 0 ? "" : noise(boundary)) + "\r\n";
    }
    text += "--" + boundary + "--" + (below(2) == 0 ? "" : noise(boundary));
    for (size_t n = below(4) == 0 ? 1 + below(3) : 0; n > 0; --n) damage(text);
    return text;
  }

 private:
  std::string noise(const std::string& boundary) {
    const std::string delimiter = "\r\n--" + boundary;
    std::string text;
    for (size_t n = below(12); n > 0; --n) {
      const std::vector<std::string> some = {"\r",
                                             "\n",
                                             "\r\n",
                                             "-",
                                             "\r\n-",
                                             "\r\n--",
                                             delimiter.substr(0, below(delimiter.size())),
                                             "--" + boundary,
                                             "text"};
      text += some[below(some.size())];
    }
    // Not the whole of it, but for a rare time.
    while (below(64) != 0) {
      const size_t at = ("\r\n" + text).find(delimiter);
      if (at == text.npos) break;
      text.erase(std::min(at, text.size() - 1), 1);
    }
    return text;
  }
  void damage(std::string& text) {
    const size_t at = below(text.size());
    const char byte = "\r\n-b \t:;\"x"[below(10)];
    if (below(3) == 0) {
      text.erase(at, 1);
    } else if (below(2) == 0) {
      text.insert(at, 1, byte);
    } else {
      text[at] = byte;
    }
  }

  std::mt19937_64 random_;
};

TEST(Multipart, any_cuts_of_any_body_tell_what_the_whole_text_says) {
  const uint64_t seed = std::random_device{}();
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  RandomForm random(seed);
  int n_taken = 0;
  int n_refused = 0;
  for (int i = 0; i < 5000; ++i) {
    const std::string boundary = random.boundary();
    const std::string body = random.form(boundary);
    SCOPED_TRACE("seed " + std::to_string(seed) + ", boundary " + boundary + ", body\n" + body);
    const MultipartEvents whole = multipart_events(boundary, body);
    const auto expected = split(boundary, body);
    ASSERT_EQ(whole.end.ok(), expected.has_value()) << whole.end.to_string();
    if (expected) {
      ASSERT_EQ(whole.told, *expected);
    }
    ++(expected ? n_taken : n_refused);
    const size_t most = 1 + random.below(20);
    const MultipartEvents cut =
        multipart_events(boundary, body, [&] { return 1 + random.below(most); });
    ASSERT_TRUE(cut == whole) << cut.told << cut.end.to_string();
  }
  EXPECT_GT(n_taken, 1000);
  EXPECT_GT(n_refused, 500);
}

}  // namespace
}  // namespace parkd::testing
