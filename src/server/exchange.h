// One request and its answer, as handlers see it: no sockets here. Everything runs on the server's I/O
// thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace octet {

// The share of one request body in the bytes that all bodies together hold, given back when the body is done
// with, on whatever thread that happens.
class BodyLease {
 public:
  BodyLease() = default;
  explicit BodyLease(std::shared_ptr<std::atomic<size_t>> total) : total_(std::move(total)) {}
  BodyLease(BodyLease&& other) noexcept
      : total_(std::move(other.total_)), bytes_(std::exchange(other.bytes_, 0)) {}
  BodyLease& operator=(BodyLease&& other) noexcept {
    release();
    total_ = std::move(other.total_);
    bytes_ = std::exchange(other.bytes_, 0);
    return *this;
  }
  ~BodyLease() { release(); }

  // Never shrinks. Returns what all bodies hold now.
  size_t grow_to(size_t bytes) {
    const size_t more = bytes > bytes_ ? bytes - bytes_ : 0;
    bytes_ += more;
    return total_->fetch_add(more) + more;
  }
  void release() {
    if (total_ != nullptr) total_->fetch_sub(std::exchange(bytes_, 0));
  }

 private:
  std::shared_ptr<std::atomic<size_t>> total_;
  size_t bytes_ = 0;
};

struct HttpRequest {
  std::string method;         // "GET"
  std::string path;           // percent-decoded, without the query
  std::string authorization;  // the header's value; empty: absent
  bool has_body = false;
  std::string body;  // empty while only the head is there
  BodyLease lease;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  bool close = false;  // the connection ends after this answer
};

// Who makes an answer over time, and must know what becomes of the connection.
class ResponseOwner {
 public:
  virtual ~ResponseOwner() = default;
  virtual void on_writable() = 0;     // everything handed over so far is with the kernel
  virtual void on_client_gone() = 0;  // no more calls follow; what is written from here on goes nowhere
};

class Exchange {
 public:
  virtual ~Exchange() = default;
  // A whole answer. Exactly one of respond() and begin_stream() is called, once.
  virtual void respond(HttpResponse response) = 0;
  // The head of an answer whose body comes in pieces (write, flush, end).
  virtual void begin_stream(HttpResponse head) = 0;
  virtual void write(std::string_view data) = 0;  // kept until flush()
  virtual void flush() = 0;
  virtual void end_stream() = 0;
  virtual size_t unsent_bytes() const = 0;
  // From now until the answer is complete `owner` is told what happens. On a connection that is gone already,
  // on_client_gone() is called at once.
  virtual void watch(std::shared_ptr<ResponseOwner> owner) = 0;
  // Gives the client up: the connection is closed at once, with a line in the log.
  virtual void drop(const std::string& why) = 0;
  virtual bool gone() const = 0;
};

}  // namespace octet
