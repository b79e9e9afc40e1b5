#include "bench/load_client.h"

#include <cctype>
#include <chrono>
#include <deque>
#include <memory>

#include <boost/asio.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "bench/sse_reader.h"

namespace octet {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Clock = std::chrono::steady_clock;
using Error = boost::system::error_code;

constexpr size_t kReadBytes = 16 << 10;
constexpr size_t kErrorBytes = 300;  // of a body that explains a failure

// In one line, for a page of HTML has many.
std::string in_one_line(const std::string& text) {
  std::string line;
  for (const char c : text) {
    const bool space = std::isspace(static_cast<unsigned char>(c)) != 0;
    if (!space) line += c;
    if (space && !line.empty() && line.back() != ' ') line += ' ';
  }
  return line;
}

double seconds(Clock::duration d) {
  return std::chrono::duration<double>(d).count();
}
Clock::duration duration(double s) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s));
}

http::request<http::string_body> make_request(const Url& url, http::verb verb, const std::string& path,
                                              const std::string& api_key, std::string body) {
  http::request<http::string_body> request(verb, url.path + path, 11);
  request.set(http::field::host, url.host + ":" + url.port);
  request.set(http::field::accept, "*/*");
  if (!api_key.empty()) request.set(http::field::authorization, "Bearer " + api_key);
  if (verb == http::verb::post) request.set(http::field::content_type, "application/json");
  request.body() = std::move(body);
  request.prepare_payload();
  return request;
}

std::string body_of(const LoadRequest& request, const LoadOptions& options) {
  nlohmann::ordered_json body = {{"model", options.model}};
  if (request.messages.empty()) {
    body["prompt"] = request.prompt_ids;
  } else {
    body["messages"] = nlohmann::ordered_json::parse(request.messages);
  }
  body.update({{"max_tokens", request.output_len},
               {"temperature", options.temperature},
               {"stream", true},
               {"stream_options", {{"include_usage", true}}}});
  if (options.ignore_eos) body.update({{"ignore_eos", true}, {"min_tokens", request.output_len}});
  return body.dump();
}

class LoadRun {
 public:
  LoadRun(const Url& url, const LoadOptions& options, std::span<const LoadRequest> requests,
          const std::function<void(int64_t)>& on_tokens)
      : url_(url), options_(options), requests_(requests), on_tokens_(on_tokens), results_(requests.size()) {}

  Result<std::vector<LoadResult>> run() {
    Error error;
    asio::ip::tcp::resolver resolver(io_);
    endpoints_ = resolver.resolve(url_.host, url_.port, error);
    if (error) return unavailable(url_.text() + ": the host has no address: " + error.message());
    // Texts of bodies are made before the clock runs.
    for (const LoadRequest& request : requests_) {
      const char* path = request.messages.empty() ? "/v1/completions" : "/v1/chat/completions";
      messages_.push_back(
          make_request(url_, http::verb::post, path, options_.api_key, body_of(request, options_)));
    }
    start_ = Clock::now();
    asio::co_spawn(io_, arrivals(), asio::detached);
    io_.run();
    return std::move(results_);
  }

 private:
  using Stream = beast::tcp_stream;

  asio::awaitable<void> arrivals() {
    asio::steady_timer timer(io_);
    for (size_t i = 0; i < requests_.size(); ++i) {
      if (requests_[i].arrival > 0) {
        timer.expires_at(start_ + duration(requests_[i].arrival));
        co_await timer.async_wait(asio::use_awaitable);
      }
      waiting_.push_back(i);
      start_waiting();
    }
  }

  void start_waiting() {
    while (!waiting_.empty() && (options_.max_concurrency == 0 || n_open_ < options_.max_concurrency)) {
      const size_t i = waiting_.front();
      waiting_.pop_front();
      ++n_open_;
      asio::co_spawn(io_, one(i), [this](const std::exception_ptr&) {
        --n_open_;
        start_waiting();
      });
    }
  }

  asio::awaitable<void> one(size_t i) {
    LoadResult& result = results_[i];
    const Clock::time_point sent = Clock::now();
    result.sent = seconds(sent - start_);
    try {
      // A connection that was kept may have been closed meanwhile: then a new one is made, once.
      for (bool kept = !idle_.empty();; kept = false) {
        std::unique_ptr<Stream> stream = kept ? take_idle() : std::make_unique<Stream>(io_);
        stream->expires_after(duration(options_.timeout));
        if (!kept) co_await stream->async_connect(endpoints_, asio::use_awaitable);
        const bool answered = co_await exchange(*stream, messages_[i], sent, result);
        if (!answered && kept) continue;
        if (!answered)
          result.error = "the server closed the connection without an answer";
        else if (result.ok() && keep_)
          idle_.push_back(std::move(stream));
        break;
      }
    } catch (const boost::system::system_error& e) {
      const bool late = e.code() == beast::error::timeout;
      result.error = late ? fmt::format("no end after {} seconds", options_.timeout) : e.code().message();
    }
    result.end = seconds(Clock::now() - sent);
    if (result.ok() && result.output_tokens == 0) result.error = "the stream ended without a token";
    messages_[i] = {};
  }

  std::unique_ptr<Stream> take_idle() {
    auto stream = std::move(idle_.back());
    idle_.pop_back();
    return stream;
  }

  // False where the connection ended before the first byte of an answer.
  asio::awaitable<bool> exchange(Stream& stream, const http::request<http::string_body>& message,
                                 Clock::time_point sent, LoadResult& result) {
    auto [write_error, n_written] =
        co_await http::async_write(stream, message, asio::as_tuple(asio::use_awaitable));
    (void)n_written;
    if (write_error == beast::error::timeout) throw boost::system::system_error(write_error);
    beast::flat_buffer buffer;
    http::response_parser<http::buffer_body> parser;
    parser.body_limit(boost::none);
    auto [error, n_header] =
        co_await http::async_read_header(stream, buffer, parser, asio::as_tuple(asio::use_awaitable));
    if (error && error != beast::error::timeout && !parser.got_some()) co_return false;
    if (error) throw boost::system::system_error(error);
    (void)n_header;
    const int status = parser.get().result_int();
    std::string explanation;
    SseReader events;
    int64_t n_events = 0;
    bool ended = false;  // by the stream's own word
    char bytes[kReadBytes];
    while (!parser.is_done()) {
      parser.get().body().data = bytes;
      parser.get().body().size = sizeof(bytes);
      auto [read_error, n] =
          co_await http::async_read_some(stream, buffer, parser, asio::as_tuple(asio::use_awaitable));
      (void)n;
      if (read_error && read_error != http::error::need_buffer) throw boost::system::system_error(read_error);
      const std::string_view piece(bytes, sizeof(bytes) - parser.get().body().size);
      if (status == 200) {
        take(events, piece, seconds(Clock::now() - sent), n_events, ended, result);
      } else if (explanation.size() < kErrorBytes) {
        explanation.append(piece.substr(0, kErrorBytes - explanation.size()));
      }
    }
    if (status != 200) result.error = fmt::format("status {}: {}", status, in_one_line(explanation));
    if (result.ok() && n_events > 0 && !ended)
      result.error = fmt::format("the stream stopped midway, after {} events with text", n_events);
    if (result.output_tokens == 0) result.output_tokens = n_events;  // a server that gives no usage
    keep_ = parser.get().keep_alive();
    co_return true;
  }

  void take(SseReader& events, std::string_view piece, double now, int64_t& n_events, bool& ended,
            LoadResult& result) {
    events.feed(piece, [&](const SseReader::Event& event) {
      if (!event.error.empty() && result.error.empty()) result.error = event.error;
      ended = ended || event.done;
      if (event.completion_tokens >= 0) result.output_tokens = event.completion_tokens;
      if (event.prompt_tokens >= 0) result.input_tokens = event.prompt_tokens;
      if (!event.has_text) return;
      if (n_events++ == 0) {
        result.first_token = now;
      } else {
        result.gaps.push_back(static_cast<float>(now - result.last_token));
      }
      result.last_token = now;
      on_tokens_(1);
    });
  }

  const Url& url_;
  const LoadOptions& options_;
  const std::span<const LoadRequest> requests_;
  const std::function<void(int64_t)>& on_tokens_;
  std::vector<LoadResult> results_;
  std::vector<http::request<http::string_body>> messages_;
  asio::io_context io_{1};
  asio::ip::tcp::resolver::results_type endpoints_;
  std::vector<std::unique_ptr<Stream>> idle_;
  std::deque<size_t> waiting_;
  int32_t n_open_ = 0;
  bool keep_ = false;  // of the exchange that has just ended
  Clock::time_point start_;
};

}  // namespace

Result<Url> parse_url(const std::string& text) {
  constexpr std::string_view kHttp = "http://";
  if (text.starts_with("https://")) {
    return unsupported(text + ": https is not measured; give the server's own http:// address");
  }
  std::string_view rest = text;
  if (rest.starts_with(kHttp)) rest.remove_prefix(kHttp.size());
  Url url;
  const size_t slash = rest.find('/');
  std::string_view authority = rest.substr(0, slash);
  if (slash != std::string_view::npos) url.path = rest.substr(slash);
  while (url.path.ends_with('/')) url.path.pop_back();
  if (url.path.ends_with("/v1")) url.path.resize(url.path.size() - 3);
  const size_t colon = authority.rfind(':');
  const bool has_port =
      colon != std::string_view::npos && authority.find(']', colon) == std::string_view::npos;
  url.port = has_port ? authority.substr(colon + 1) : "80";
  if (has_port) authority = authority.substr(0, colon);
  if (authority.starts_with('[') && authority.ends_with(']'))
    authority = authority.substr(1, authority.size() - 2);
  url.host = authority;
  const bool digits = !url.port.empty() && url.port.find_first_not_of("0123456789") == std::string::npos;
  if (url.host.empty() || !digits || url.port.size() > 5 || std::stoi(url.port) > 65535 ||
      rest.find_first_of(" \t\r\n") != std::string_view::npos) {
    return invalid_argument("'" + text + "' is no address of a server; expected http://HOST:PORT");
  }
  return url;
}

Result<std::string> http_get(const Url& url, const std::string& path, const std::string& api_key,
                             double timeout) {
  const std::string what = url.text() + path + ": ";
  try {
    asio::io_context io;
    asio::ip::tcp::resolver resolver(io);
    beast::tcp_stream stream(io);
    const auto endpoints = resolver.resolve(url.host, url.port);
    http::response_parser<http::string_body> parser;
    Error failure;
    asio::co_spawn(
        io,
        [&]() -> asio::awaitable<void> {
          stream.expires_after(duration(timeout));
          co_await stream.async_connect(endpoints, asio::use_awaitable);
          co_await http::async_write(stream, make_request(url, http::verb::get, path, api_key, ""),
                                     asio::use_awaitable);
          beast::flat_buffer buffer;
          co_await http::async_read(stream, buffer, parser, asio::use_awaitable);
        },
        [&](const std::exception_ptr& e) {
          try {
            if (e) std::rethrow_exception(e);
          } catch (const boost::system::system_error& error) {
            failure = error.code();
          }
        });
    io.run();
    if (failure) return unavailable(what + failure.message());
    if (parser.get().result_int() != 200) {
      return unavailable(fmt::format("{}status {}: {}", what, parser.get().result_int(),
                                     in_one_line(parser.get().body().substr(0, kErrorBytes))));
    }
    return parser.get().body();
  } catch (const boost::system::system_error& e) {
    return unavailable(what + e.code().message());
  }
}

Result<std::string> first_model(const Url& url, const std::string& api_key) {
  constexpr double kPatience = 10;
  OCTET_ASSIGN_OR_RETURN(const std::string body, http_get(url, "/v1/models", api_key, kPatience));
  const auto json = nlohmann::json::parse(body, nullptr, false);
  const auto id = nlohmann::json::json_pointer("/data/0/id");
  if (!json.is_object() || !json.contains(id) || !json[id].is_string()) {
    return unavailable(url.text() + "/v1/models: expected an OpenAI list of models, found: " +
                       in_one_line(body.substr(0, 80)) + "; give --model");
  }
  return json[id].get<std::string>();
}

Result<std::vector<LoadResult>> run_load(const Url& url, const LoadOptions& options,
                                         std::span<const LoadRequest> requests,
                                         const std::function<void(int64_t)>& on_tokens) {
  return LoadRun(url, options, requests, on_tokens).run();
}

}  // namespace octet
