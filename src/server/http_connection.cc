#include "server/http_connection.h"

#include <algorithm>

#include <boost/asio/buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <fmt/format.h>

#include "base/log.h"
#include "server/http_text.h"

namespace octet {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using Clock = std::chrono::steady_clock;

constexpr size_t kHeaderRead = 4 << 10, kBodyRead = 64 << 10, kIdleRead = 1 << 10;
constexpr size_t kMaxPipelined = 16 << 10;  // read ahead while an answer is being made
constexpr size_t kKeptCapacity = 64 << 10;  // of the write buffers between two writes
constexpr std::chrono::milliseconds kLinger{3000};
// Of the kernel, which would else keep megabytes for a client that does not read.
constexpr int kSendBuffer = 128 << 10;
constexpr size_t kChunkHead = 10;  // eight hex digits and a line break

// Bytes received for the parser and not yet parsed may not exceed this.
size_t max_buffered(const HttpLimits& limits) {
  return std::max(limits.max_header_bytes, kBodyRead) + kBodyRead;
}

}  // namespace

HttpConnection::HttpConnection(asio::ip::tcp::socket socket, ConnectionHost& host)
    : socket_(std::move(socket)), host_(host) {}

HttpConnection::~HttpConnection() = default;

void HttpConnection::start() {
  Error ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  socket_.non_blocking(true, ignored);
  socket_.set_option(asio::socket_base::send_buffer_size(kSendBuffer), ignored);
  begin_request();
}

void HttpConnection::set_deadline(std::chrono::milliseconds from_now) {
  deadline_ = Clock::now() + from_now;
}

void HttpConnection::check_deadline(Clock::time_point now) {
  if (now < deadline_ || state_ == State::kClosed) return;
  const bool mid_request = (state_ == State::kHeader && started_) || state_ == State::kBody;
  if (mid_request) {
    refuse(408, "the request took too long to arrive");
  } else if (state_ == State::kAnswering || state_ == State::kStreaming) {
    drop("it took no bytes for too long");
  } else {
    close();
  }
}

// ---- reading ----

void HttpConnection::begin_request() {
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(host_.limits().max_header_bytes));
  parser_->body_limit(host_.limits().max_body_bytes);
  request_ = {};
  origin_.clear();
  request_.lease = host_.new_lease();
  state_ = State::kHeader;
  started_ = false;
  http_1_0_ = false;
  complete_ = false;
  keep_alive_ = true;
  head_only_ = false;
  set_deadline(host_.limits().idle_timeout);
  parse();
}

void HttpConnection::read_some() {
  if (reading_ || state_ == State::kClosed) return;
  const bool awaited = state_ == State::kHeader || state_ == State::kBody || state_ == State::kLingering;
  // Beyond this the client waits for its answer, and only a failing write shows that it is gone.
  if (!awaited && buffer_.size() >= kMaxPipelined) return;
  const size_t n = state_ == State::kHeader ? kHeaderRead : awaited ? kBodyRead : kIdleRead;
  reading_ = true;
  socket_.async_read_some(buffer_.prepare(n), [self = shared_from_this()](Error error, size_t bytes) {
    self->on_read(error, bytes);
  });
}

void HttpConnection::on_read(Error error, size_t n) {
  reading_ = false;
  if (state_ == State::kClosed) return;
  if (error) return close();  // the end of the stream, too: nobody is left to answer
  buffer_.commit(n);
  if (state_ == State::kLingering) {
    buffer_.consume(buffer_.size());
    read_some();
  } else if (state_ == State::kHeader || state_ == State::kBody) {
    parse();
  } else {
    read_some();
  }
}

void HttpConnection::parse() {
  while (true) {
    if (buffer_.size() == 0) return read_some();
    if (!started_) {
      started_ = true;
      set_deadline(host_.limits().header_timeout);
    }
    Error error;
    const size_t used = parser_->put(buffer_.data(), error);
    buffer_.consume(used);
    const bool need_more = error == http::error::need_more;
    if (error && !need_more) {
      if (error == http::error::body_limit) return refuse(413, body_too_large(host_.limits().max_body_bytes));
      if (error == http::error::header_limit) return refuse(431, "the header of the request is too large");
      return refuse(400, "malformed HTTP request: " + error.message());
    }
    if (state_ == State::kHeader && parser_->is_header_done()) {
      if (!on_header()) return;
    }
    if (state_ == State::kBody && !charge_body(parser_->get().body().size())) return;
    if (parser_->is_done()) return on_request();
    if (need_more || used == 0) {
      if (buffer_.size() >= max_buffered(host_.limits())) return refuse(400, "malformed HTTP request");
      return read_some();
    }
  }
}

bool HttpConnection::charge_body(size_t bytes) {
  if (request_.lease.grow_to(bytes) <= host_.limits().max_bodies_bytes) return true;
  refuse(503, "the server holds too many request bodies now; try again");
  return false;
}

bool HttpConnection::on_header() {
  const auto& head = parser_->get();
  http_1_0_ = head.version() < 11;
  keep_alive_ = parser_->keep_alive();
  head_only_ = head.method() == http::verb::head;
  request_.method = std::string(head.method_string());
  request_.authorization = std::string(head[http::field::authorization]);
  origin_ = std::string(head[http::field::origin]);
  const auto path = decode_path(head.target());
  const auto length = parser_->content_length();
  request_.has_body = parser_->chunked() || (length && *length > 0);
  state_ = State::kBody;
  set_deadline(host_.limits().body_timeout);

  if (!path) return refuse(400, "malformed HTTP request: the path is not percent-encoded rightly"), false;
  request_.path = *path;
  if (!http_1_0_ && head[http::field::host].empty() && head.find(http::field::host) == head.end()) {
    return refuse(400, "malformed HTTP request: no Host header"), false;
  }
  if (head.find(http::field::transfer_encoding) != head.end() && !parser_->chunked()) {
    return refuse(501, "the only Transfer-Encoding that is possible is 'chunked'"), false;
  }
  const auto coding = head[http::field::content_encoding];
  if (request_.has_body && !coding.empty() && !boost::beast::iequals(coding, "identity")) {
    return refuse(415, "a body with a Content-Encoding cannot be read; send it as it is"), false;
  }
  if (length && *length > host_.limits().max_body_bytes) {
    return refuse(413, body_too_large(host_.limits().max_body_bytes)), false;
  }
  if (auto refusal = host_.admit(request_)) {
    if (request_.has_body) keep_alive_ = false;  // its body is not going to be read
    respond(std::move(*refusal));
    return false;
  }
  if (length && !charge_body(*length)) return false;
  if (request_.has_body && boost::beast::iequals(head[http::field::expect], "100-continue")) {
    outbox_ += "HTTP/1.1 100 Continue\r\n\r\n";
    flush();
  }
  parser_->eager(true);
  return true;
}

void HttpConnection::on_request() {
  state_ = State::kAnswering;
  deadline_ = Clock::time_point::max();
  request_.body = std::move(parser_->get().body());
  parser_.reset();
  if (buffer_.size() == 0) buffer_.shrink_to_fit();
  read_some();
  host_.handle(std::move(request_), shared_from_this());
}

void HttpConnection::refuse(int status, const std::string& message) {
  keep_alive_ = false;
  respond(error_response(api_error(status, message)));
}

// ---- writing ----

void HttpConnection::append_head(HttpResponse& response, bool chunked) {
  host_.on_response(origin_, response);
  if (response.close || host_.draining()) keep_alive_ = false;
  outbox_ += "HTTP/1.1 " + std::to_string(response.status) + " " + reason_phrase(response.status) + "\r\n";
  outbox_ += "Server: octet\r\nDate: " + http_date(std::time(nullptr)) + "\r\n";
  if (!response.content_type.empty()) outbox_ += "Content-Type: " + response.content_type + "\r\n";
  for (const auto& [name, value] : response.headers) outbox_ += name + ": " + value + "\r\n";
  if (chunked) {
    outbox_ += "Transfer-Encoding: chunked\r\n";
  } else if (state_ != State::kStreaming && response.status != 204) {
    outbox_ += "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
  }
  outbox_ += keep_alive_ ? (http_1_0_ ? "Connection: keep-alive\r\n" : "") : "Connection: close\r\n";
  outbox_ += "\r\n";
}

void HttpConnection::respond(HttpResponse response) {
  if (gone()) return;
  state_ = State::kAnswering;
  append_head(response, false);
  if (!head_only_) outbox_ += response.body;
  complete_ = true;
  flush();
}

void HttpConnection::begin_stream(HttpResponse head) {
  if (gone()) return;
  state_ = State::kStreaming;
  if (http_1_0_) keep_alive_ = false;  // the end of the connection is the end of the body
  append_head(head, !http_1_0_);
}

void HttpConnection::write(std::string_view data) {
  if (state_ != State::kStreaming || data.empty()) return;
  if (!http_1_0_ && !chunk_open_) {
    chunk_begin_ = outbox_.size();
    outbox_.append("00000000\r\n", kChunkHead);
    chunk_open_ = true;
  }
  outbox_ += data;
}

// The length stands before the chunk and is known only now.
void HttpConnection::seal_chunk() {
  if (!chunk_open_) return;
  static constexpr char kHex[] = "0123456789abcdef";
  size_t size = outbox_.size() - chunk_begin_ - kChunkHead;
  for (size_t i = 8; i-- > 0; size >>= 4) outbox_[chunk_begin_ + i] = kHex[size & 15];
  outbox_ += "\r\n";
  chunk_open_ = false;
}

void HttpConnection::flush() {
  if (writing_ || outbox_.empty() || state_ == State::kClosed) return;
  seal_chunk();
  in_flight_.swap(outbox_);
  outbox_.clear();
  in_flight_sent_ = 0;
  write_some();
}

void HttpConnection::end_stream() {
  if (state_ != State::kStreaming) return;
  seal_chunk();
  if (!http_1_0_) outbox_ += "0\r\n\r\n";
  complete_ = true;
  flush();
}

void HttpConnection::write_some() {
  writing_ = true;
  set_deadline(host_.limits().write_timeout);
  const auto rest = asio::buffer(in_flight_) + in_flight_sent_;
  socket_.async_write_some(
      rest, [self = shared_from_this()](Error error, size_t bytes) { self->on_written(error, bytes); });
}

void HttpConnection::on_written(Error error, size_t n) {
  writing_ = false;
  if (state_ == State::kClosed) return;
  if (error) return close();
  in_flight_sent_ += n;
  if (in_flight_sent_ < in_flight_.size()) return write_some();
  in_flight_.clear();
  in_flight_sent_ = 0;
  if (in_flight_.capacity() > kKeptCapacity) in_flight_.shrink_to_fit();
  if (state_ == State::kAnswering || state_ == State::kStreaming) deadline_ = Clock::time_point::max();
  if (outbox_.empty() && complete_) return on_answered();
  if (owner_ != nullptr && !complete_) owner_->on_writable();
  flush();
}

void HttpConnection::watch(std::shared_ptr<ResponseOwner> owner) {
  if (gone()) return owner->on_client_gone();
  owner_ = std::move(owner);
}

void HttpConnection::on_answered() {
  owner_.reset();
  if (!keep_alive_ || host_.draining()) return linger();
  begin_request();
}

// ---- ending ----

// A close with unread bytes in the kernel resets the connection, and the client may lose the answer: so the
// rest is read and forgotten for a moment first.
void HttpConnection::linger() {
  Error ignored;
  state_ = State::kLingering;
  request_ = {};
  buffer_.consume(buffer_.size());
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  set_deadline(kLinger);
  read_some();
}

void HttpConnection::close_if_idle() {
  if (state_ == State::kHeader && !started_) close();
}

void HttpConnection::drop(const std::string& why) {
  if (state_ == State::kClosed) return;
  Error ignored;
  const auto peer = socket_.remote_endpoint(ignored);
  log_warning(fmt::format("client {}:{} dropped: {}", peer.address().to_string(), peer.port(), why));
  close();
}

void HttpConnection::close() {
  if (state_ == State::kClosed) return;
  const auto self = shared_from_this();
  state_ = State::kClosed;
  deadline_ = Clock::time_point::max();
  Error ignored;
  socket_.close(ignored);
  request_ = {};
  if (auto owner = std::exchange(owner_, nullptr)) owner->on_client_gone();
  host_.on_closed(*this);
}

}  // namespace octet
