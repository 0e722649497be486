// A client of a veilface server in C++: lists galleries and what is in one, searches it with an encrypted probe from a
// file, and reads the details of refusals. It has no key, and prints one line of JSON. README.md says how to build it.
#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <google/protobuf/util/delimited_message_util.h>
#include <grpcpp/grpcpp.h>
#include <openssl/sha.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "refusal.pb.h"
#include "veilface/v1/gallery_service.grpc.pb.h"
#include "veilface/v1/matching_service.grpc.pb.h"
#include "veilface/v1/server_service.grpc.pb.h"

namespace {

namespace v1 = veilface::v1;

constexpr std::chrono::seconds kPatience{30};

// What a search answers for one block: the ciphertext itself is for whoever has the key.
struct Block {
  std::int64_t block;
  std::int32_t stride;
  std::string sha256;
};

struct Refusal {
  grpc::StatusCode code;
  std::string reason;
  std::string domain;
  std::vector<std::string> fields;
};

struct Result {
  std::string version;
  std::vector<std::string> galleries;
  std::size_t subjects = 0;
  std::size_t templates = 0;
  std::size_t changes = 0;
  std::size_t roster_changes = 0;
  std::int64_t revision = 0;
  std::vector<Block> blocks;
  std::vector<Refusal> refusals;
};

// What the google.rpc.Status in a refusal's trailer grpc-status-details-bin says.
Refusal RefusalOf(const grpc::Status& status) {
  Refusal refusal{status.error_code(), {}, {}, {}};
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return refusal;
  for (const auto& detail : details.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad_request;
    if (detail.UnpackTo(&info)) {
      refusal.reason = info.reason();
      refusal.domain = info.domain();
    } else if (detail.UnpackTo(&bad_request)) {
      for (const auto& violation : bad_request.field_violations()) refusal.fields.push_back(violation.field());
    }
  }
  return refusal;
}

void Check(const grpc::Status& status) {
  if (status.ok()) return;
  const Refusal refusal = RefusalOf(status);
  if (refusal.reason.empty()) throw std::runtime_error(status.error_message());
  std::string text = "the server refused: " + refusal.reason + ": " + status.error_message();
  for (const auto& field : refusal.fields) text += " (field " + field + ")";
  throw std::runtime_error(text);
}

// ProbePieces, each after its length as a varint: as they are sent.
std::vector<v1::ProbePieces> ReadProbe(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  google::protobuf::io::IstreamInputStream stream(&file);
  std::vector<v1::ProbePieces> probe;
  for (;;) {
    v1::ProbePieces pieces;
    bool at_end = false;
    if (google::protobuf::util::ParseDelimitedFromZeroCopyStream(&pieces, &stream, &at_end)) {
      probe.push_back(std::move(pieces));
    } else if (at_end && !probe.empty()) {
      return probe;
    } else {
      throw std::runtime_error(path + " is not a file of probe pieces");
    }
  }
}

// Plain text inside this machine, TLS with the system's certificates to another one.
std::shared_ptr<grpc::ChannelCredentials> Security(const std::string& server) {
  const std::string host = server.substr(0, server.rfind(':'));
  const bool is_here = host == "127.0.0.1" || host == "localhost" || host == "[::1]";
  return is_here ? grpc::InsecureChannelCredentials() : grpc::SslCredentials({});
}

// Reads pages until one has no token of a next one. `list` makes the call of one page, `take` counts what is in it.
template <typename Request, typename Response>
void EachPage(Request request, const std::function<grpc::Status(grpc::ClientContext*, const Request&, Response*)>& list,
              const std::function<void(const Response&)>& take) {
  for (;;) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    Response page;
    Check(list(&context, request, &page));
    take(page);
    if (page.next_page_token().empty()) return;
    request.set_page_token(page.next_page_token());
  }
}

Block BlockOf(const v1::EncryptedDistances& distances) {
  const std::string block = std::to_string(distances.block());
  if (distances.refused() != v1::ERROR_REASON_UNSPECIFIED) {
    throw std::runtime_error("block " + block + " could not be compared: " + v1::ErrorReason_Name(distances.refused()));
  }
  const std::string& data = distances.ciphertext().data();
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(data.data()), data.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  if (digest != distances.ciphertext().sha256()) throw std::runtime_error("the answer of block " + block + " is damaged");
  std::string hex;
  for (const unsigned char byte : digest) hex += {"0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
  return {distances.block(), distances.stride(), hex};
}

void CheckStrides(const v1::Gallery& gallery, const std::vector<v1::ProbePieces>& probe) {
  std::set<std::int32_t> strides;
  for (const auto& message : probe) {
    for (const auto& piece : message.pieces()) strides.insert(piece.stride());
  }
  for (const std::int32_t stride : gallery.strides()) {
    if (strides.count(stride) == 0) {
      throw std::runtime_error("the gallery has blocks of stride " + std::to_string(stride) +
                               ", at which the file has no probe");
    }
  }
}

class Client {
 public:
  explicit Client(const std::shared_ptr<grpc::Channel>& channel)
      : server_(v1::ServerService::NewStub(channel)),
        galleries_(v1::GalleryService::NewStub(channel)),
        matching_(v1::MatchingService::NewStub(channel)) {}

  // Everything that can be listed, page by page.
  void List(const std::string& gallery_id, std::int32_t page_size, Result* result) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    v1::GetServerInfoResponse info;
    Check(server_->GetServerInfo(&context, {}, &info));
    result->version = info.server_info().version();

    v1::ListGalleriesRequest galleries;
    galleries.set_page_size(page_size);
    EachPage<v1::ListGalleriesRequest, v1::ListGalleriesResponse>(
        galleries, [this](auto... call) { return galleries_->ListGalleries(call...); },
        [&](const auto& page) {
          for (const auto& gallery : page.galleries()) result->galleries.push_back(gallery.gallery_id());
        });

    v1::ListSubjectsRequest subjects;
    subjects.set_gallery_id(gallery_id);
    subjects.set_page_size(page_size);
    EachPage<v1::ListSubjectsRequest, v1::ListSubjectsResponse>(
        subjects, [this](auto... call) { return galleries_->ListSubjects(call...); },
        [&](const auto& page) { result->subjects += page.subjects_size(); });

    v1::ListTemplatesRequest templates;
    templates.set_gallery_id(gallery_id);
    templates.set_page_size(page_size);
    EachPage<v1::ListTemplatesRequest, v1::ListTemplatesResponse>(
        templates, [this](auto... call) { return galleries_->ListTemplates(call...); },
        [&](const auto& page) { result->templates += page.entries_size(); });

    v1::ListTemplateChangesRequest changes;
    changes.set_gallery_id(gallery_id);
    changes.set_page_size(page_size);
    EachPage<v1::ListTemplateChangesRequest, v1::ListTemplateChangesResponse>(
        changes, [this](auto... call) { return galleries_->ListTemplateChanges(call...); },
        [&](const auto& page) { result->changes += page.entries_size(); });
  }

  // One search: the target goes first, and the gallery comes back, whose strides say at which the probe is needed; then
  // the probe, and meanwhile the roster's changes; then the distances, one message a block.
  void Search(const std::string& gallery_id, const std::vector<v1::ProbePieces>& probe, Result* result) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    const auto stream = matching_->SearchGallery(&context);
    v1::SearchGalleryRequest request;
    request.mutable_target()->set_gallery_id(gallery_id);
    request.mutable_target()->mutable_roster();  // An empty state: all of the roster is asked for.
    // Why a call ended is told by Finish; Write and Read only say that it did.
    stream->Write(request);
    v1::SearchGalleryResponse answer;
    if (!stream->Read(&answer)) return Check(stream->Finish());

    // The roster's changes must be read while the probe is sent: a server that cannot send does not receive.
    std::thread sender;
    try {
      if (!answer.has_gallery()) throw std::runtime_error("the first answer of a search is not the gallery");
      CheckStrides(answer.gallery(), probe);
      sender = std::thread([&] {
        for (const auto& pieces : probe) {
          v1::SearchGalleryRequest next;
          *next.mutable_pieces() = pieces;
          if (!stream->Write(next)) return;
        }
        stream->WritesDone();
      });
      while (stream->Read(&answer)) Take(answer, result);
    } catch (...) {
      context.TryCancel();
      if (sender.joinable()) sender.join();
      throw;
    }
    sender.join();
    Check(stream->Finish());
    std::sort(result->blocks.begin(), result->blocks.end(),
              [](const Block& a, const Block& b) { return a.block < b.block; });
  }

  // Two calls that every server refuses, and what it says.
  void Provoke(Result* result) {
    grpc::ClientContext for_unknown;
    v1::GetGalleryRequest unknown;
    unknown.set_gallery_id("there-is-no-such-gallery");
    v1::GetGalleryResponse no_gallery;
    grpc::ClientContext for_negative;
    v1::ListGalleriesRequest negative;
    negative.set_page_size(-1);
    v1::ListGalleriesResponse no_galleries;
    for (const auto& status : {galleries_->GetGallery(&for_unknown, unknown, &no_gallery),
                               galleries_->ListGalleries(&for_negative, negative, &no_galleries)}) {
      if (status.ok()) throw std::runtime_error("a call was answered that should have been refused");
      result->refusals.push_back(RefusalOf(status));
    }
  }

 private:
  static void Take(const v1::SearchGalleryResponse& answer, Result* result) {
    switch (answer.message_case()) {
      case v1::SearchGalleryResponse::kRosterChanges:
        result->roster_changes += answer.roster_changes().entries_size();
        break;
      case v1::SearchGalleryResponse::kStart:
        result->revision = answer.start().revision();
        break;
      case v1::SearchGalleryResponse::kDistances:
        result->blocks.push_back(BlockOf(answer.distances()));
        break;
      default:
        break;
    }
  }

  const std::unique_ptr<v1::ServerService::Stub> server_;
  const std::unique_ptr<v1::GalleryService::Stub> galleries_;
  const std::unique_ptr<v1::MatchingService::Stub> matching_;
};

// Ids, reasons and field paths have no character that JSON would escape.
std::string Quoted(const std::string& text) { return '"' + text + '"'; }

template <typename Items, typename Write>
std::string List(const Items& items, const Write& write) {
  std::string text;
  for (const auto& item : items) text += (text.empty() ? "" : ",") + write(item);
  return '[' + text + ']';
}

std::string BlockAsJson(const Block& block) {
  std::ostringstream json;
  json << R"({"block":)" << block.block << R"(,"stride":)" << block.stride << R"(,"sha256":)" << Quoted(block.sha256)
       << '}';
  return json.str();
}

std::string RefusalAsJson(const Refusal& refusal) {
  std::ostringstream json;
  json << R"({"code":)" << refusal.code << R"(,"reason":)" << Quoted(refusal.reason) << R"(,"domain":)"
       << Quoted(refusal.domain) << R"(,"fields":)" << List(refusal.fields, Quoted) << '}';
  return json.str();
}

void Print(const Result& result) {
  std::cout << R"({"version":)" << Quoted(result.version) << R"(,"galleries":)" << List(result.galleries, Quoted)
            << R"(,"subjects":)" << result.subjects << R"(,"templates":)" << result.templates << R"(,"changes":)"
            << result.changes << R"(,"roster_changes":)" << result.roster_changes << R"(,"revision":)"
            << result.revision << R"(,"blocks":)" << List(result.blocks, BlockAsJson) << R"(,"refusals":)"
            << List(result.refusals, RefusalAsJson) << "}\n";
}

void Run(const std::vector<std::string>& arguments) {
  if (arguments.size() != 3 && arguments.size() != 4) {
    throw std::runtime_error("usage: search SERVER GALLERY PROBE_FILE [PAGE_SIZE]");
  }
  const std::string& server = arguments[0];
  const std::string& gallery_id = arguments[1];
  const auto probe = ReadProbe(arguments[2]);
  const std::int32_t page_size = arguments.size() == 4 ? std::stoi(arguments[3]) : 100;
  Client client(grpc::CreateChannel(server, Security(server)));
  Result result;
  client.List(gallery_id, page_size, &result);
  client.Search(gallery_id, probe, &result);
  client.Provoke(&result);
  Print(result);
}

}  // namespace

int main(int count, char** arguments) {
  try {
    Run({arguments + 1, arguments + count});
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "search: " << error.what() << "\n";
    return 1;
  }
}
