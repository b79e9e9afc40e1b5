// One TCP connection speaking HTTP/1.1: reads requests one after the other (keep-alive, pipelining, chunked
// bodies, Expect: 100-continue), hands each to the host, writes the answer, and keeps reading while it does,
// so that a client that goes away is noticed at once. Runs on one thread; the host's sweep calls
// check_deadline() a few times a second.
#pragma once

#include <chrono>
#include <optional>

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include "server/exchange.h"

namespace octet {

struct HttpLimits {
  size_t max_header_bytes = 16 << 10;
  size_t max_body_bytes = 16 << 20;
  size_t max_bodies_bytes = 256 << 20;  // of all connections together
  // The whole header, the whole body, the pause between two requests, and a client that takes no bytes.
  std::chrono::milliseconds header_timeout{15'000}, body_timeout{120'000}, idle_timeout{75'000},
      write_timeout{60'000};
};

class HttpConnection;

// Who owns the connections.
class ConnectionHost {
 public:
  virtual ~ConnectionHost() = default;
  virtual const HttpLimits& limits() const = 0;
  // Looks at the head alone: an answer here refuses the request before its body is read.
  virtual std::optional<HttpResponse> admit(const HttpRequest& head) = 0;
  virtual void handle(HttpRequest request, std::shared_ptr<Exchange> exchange) = 0;
  virtual void on_closed(HttpConnection& connection) = 0;
  virtual bool draining() const = 0;  // answers say "Connection: close"
  virtual BodyLease new_lease() = 0;
  // The last look at every answer before it is written.
  virtual void on_response(const std::string& origin, HttpResponse& response) = 0;
};

class HttpConnection final : public Exchange, public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(boost::asio::ip::tcp::socket socket, ConnectionHost& host);
  ~HttpConnection() override;

  void start();
  void check_deadline(std::chrono::steady_clock::time_point now);
  void close_if_idle();  // between two requests: closed; otherwise after the answer
  void close();

  void respond(HttpResponse response) override;
  void begin_stream(HttpResponse head) override;
  void write(std::string_view data) override;
  void flush() override;
  void end_stream() override;
  size_t unsent_bytes() const override { return outbox_.size() + in_flight_.size() - in_flight_sent_; }
  void watch(std::shared_ptr<ResponseOwner> owner) override;
  void drop(const std::string& why) override;
  bool gone() const override { return state_ == State::kLingering || state_ == State::kClosed; }

 private:
  enum class State { kHeader, kBody, kAnswering, kStreaming, kLingering, kClosed };
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  using Error = boost::system::error_code;

  void begin_request();
  void read_some();
  void on_read(Error error, size_t n);
  void parse();
  bool on_header();  // false: refused
  void on_request();
  bool charge_body(size_t bytes);  // false: refused, too many bytes in all
  void refuse(int status, const std::string& message);
  void append_head(HttpResponse& response, bool chunked);
  void seal_chunk();
  void write_some();
  void on_written(Error error, size_t n);
  void on_answered();
  void linger();
  void set_deadline(std::chrono::milliseconds from_now);

  boost::asio::ip::tcp::socket socket_;
  ConnectionHost& host_;
  State state_ = State::kHeader;
  boost::beast::flat_buffer buffer_;  // read and not yet parsed
  std::optional<Parser> parser_;
  HttpRequest request_;
  std::string origin_;  // of the page that asks, where it is one
  bool reading_ = false, started_ = false, http_1_0_ = false, keep_alive_ = true, head_only_ = false;
  std::string outbox_;     // not yet handed to the kernel
  std::string in_flight_;  // being handed to it
  size_t in_flight_sent_ = 0, chunk_begin_ = 0;
  bool writing_ = false, chunk_open_ = false, complete_ = false;
  std::shared_ptr<ResponseOwner> owner_;
  std::chrono::steady_clock::time_point deadline_ = std::chrono::steady_clock::time_point::max();
};

}  // namespace octet
