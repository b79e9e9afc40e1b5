#include "server/server.h"

#include <algorithm>
#include <csignal>
#include <mutex>
#include <thread>
#include <unordered_map>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fmt/format.h>
#include <sys/resource.h>

#include "base/log.h"
#include "server/api.h"
#include "server/http_connection.h"
#include "server/http_text.h"

namespace octet {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Error = boost::system::error_code;
constexpr std::chrono::milliseconds kSweep{250};
constexpr std::chrono::milliseconds kAcceptPause{100};

// A connection takes a file descriptor, and the usual soft limit of 1,024 is soon reached.
void raise_descriptor_limit(int connections) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = static_cast<rlim_t>(connections) + 128;
  if (limit.rlim_cur >= wanted) return;
  limit.rlim_cur = std::min(wanted, limit.rlim_max);
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
    log_warning(
        fmt::format("only {} file descriptors are allowed, fewer than max_connections = {} needs (ulimit -n)",
                    limit.rlim_cur, connections));
  }
}

Result<tcp::acceptor> listen(asio::io_context& io, const std::string& host, int port) {
  Error error;
  const auto failed = [&](const char* what) {
    return unavailable(
        fmt::format("cannot {} {}:{}: {}; choose another host or port", what, host, port, error.message()));
  };
  if (port < 0 || port > 65535) return invalid_argument(fmt::format("port {} is not in [0, 65535]", port));
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error || found.empty()) return failed("find the address");
  const tcp::endpoint endpoint = found.begin()->endpoint();
  tcp::acceptor acceptor(io);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return failed("listen on");
  return acceptor;
}

}  // namespace

Status check_address(const ServerOptions& options) {
  asio::io_context io;
  return listen(io, options.host, options.port).status();
}

struct Server::Impl final : ConnectionHost {
  Impl(const ServedModel& served, const ServerOptions& given) : model(served), options(given) {
    http_limits.max_body_bytes = options.max_body_bytes;
    http_limits.max_bodies_bytes = std::max<size_t>(256 << 20, 2 * options.max_body_bytes);
    http_limits.header_timeout = options.header_timeout;
    http_limits.body_timeout = options.body_timeout;
    http_limits.idle_timeout = options.idle_timeout;
    http_limits.write_timeout = options.write_timeout;
  }

  const HttpLimits& limits() const override { return http_limits; }
  std::optional<HttpResponse> admit(const HttpRequest& head) override { return api.admit(head); }
  void handle(HttpRequest request, std::shared_ptr<Exchange> exchange) override {
    api.handle(std::move(request), std::move(exchange));
  }
  void on_response(const std::string& origin, HttpResponse& response) override {
    ++state.stats.responses[response.status];
    api.add_cors(origin, response);
  }
  void on_closed(HttpConnection& connection) override;
  bool draining() const override { return state.draining; }
  BodyLease new_lease() override { return BodyLease(body_bytes); }

  void run();
  void accept();
  void take(tcp::socket socket);
  void sweep();
  void drain();
  void shut_down();

  const ServedModel model;
  const ServerOptions options;
  HttpLimits http_limits;
  std::shared_ptr<std::atomic<size_t>> body_bytes = std::make_shared<std::atomic<size_t>>(0);
  ApiState state;
  bool stopping = false;
  std::chrono::steady_clock::time_point drain_end;
  asio::io_context io{1};
  tcp::acceptor acceptor{io};
  int port = 0;
  asio::steady_timer sweep_timer{io}, accept_timer{io};
  // Closed before io goes: their sockets belong to it.
  std::unordered_map<HttpConnection*, std::shared_ptr<HttpConnection>> connections;
  Api api{model, options, io, state};  // its workers post to io: it goes first
  std::thread thread;
  std::mutex join_mutex;
};

void Server::Impl::run() {
  while (true) {
    try {
      io.run();
      return;
    } catch (const std::exception& e) {  // out of memory for one request must not end the others
      log_error(fmt::format("the server caught: {}", e.what()));
    }
  }
}

void Server::Impl::accept() {
  acceptor.async_accept([this](Error error, tcp::socket socket) {
    if (stopping || error == asio::error::operation_aborted) return;
    if (!error) {
      take(std::move(socket));
      return accept();
    }
    // Out of descriptors: the waiting client stays in the kernel's queue.
    log_warning(fmt::format("cannot accept a connection: {}", error.message()));
    accept_timer.expires_after(kAcceptPause);
    accept_timer.async_wait([this](Error cancelled) {
      if (!cancelled && !stopping) accept();
    });
  });
}

void Server::Impl::take(tcp::socket socket) {
  const bool full = connections.size() >= static_cast<size_t>(options.max_connections);
  const auto connection = std::make_shared<HttpConnection>(std::move(socket), *this);
  connections.emplace(connection.get(), connection);
  state.connections = static_cast<int64_t>(connections.size());
  if (!full) return connection->start();
  HttpResponse refusal =
      error_response(api_error(503, "the server has no room for another connection; try again"));
  refusal.close = true;
  connection->respond(std::move(refusal));
}

void Server::Impl::on_closed(HttpConnection& connection) {
  connections.erase(&connection);
  state.connections = static_cast<int64_t>(connections.size());
  if (state.draining && connections.empty()) shut_down();
}

// Deadlines of all connections, a few times a second: cheaper than a timer each.
void Server::Impl::sweep() {
  sweep_timer.expires_after(kSweep);
  sweep_timer.async_wait([this](Error cancelled) {
    if (cancelled || stopping) return;
    const auto now = std::chrono::steady_clock::now();
    std::vector<std::shared_ptr<HttpConnection>> all;
    for (const auto& [key, connection] : connections) all.push_back(connection);
    for (const auto& connection : all) connection->check_deadline(now);
    if (!state.draining && !model.engine.status().ok()) {
      log_error("the engine has failed: the server ends once its clients have been told");
      drain();
      if (stopping) return;
    }
    if (state.draining && now >= drain_end) {
      log_warning(fmt::format("drain time is over; {} open connections are closed", connections.size()));
      return shut_down();
    }
    if (!stopping) sweep();
  });
}

void Server::Impl::drain() {
  if (state.draining || stopping) return;
  state.draining = true;
  drain_end = std::chrono::steady_clock::now() + options.drain_timeout;
  log_info(fmt::format("draining: {} requests are open", state.stats.open_generations));
  std::vector<std::shared_ptr<HttpConnection>> all;
  for (const auto& [key, connection] : connections) all.push_back(connection);
  for (const auto& connection : all) connection->close_if_idle();
  if (connections.empty()) shut_down();
}

void Server::Impl::shut_down() {
  if (stopping) return;
  stopping = true;
  Error ignored;
  acceptor.close(ignored);
  sweep_timer.cancel();
  accept_timer.cancel();
  std::vector<std::shared_ptr<HttpConnection>> all;
  for (const auto& [key, connection] : connections) all.push_back(connection);
  for (const auto& connection : all) connection->close();
  api.stop();
  io.stop();
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Server>> Server::start(const ServedModel& model, const ServerOptions& options) {
  auto impl = std::make_unique<Impl>(model, options);
  OCTET_ASSIGN_OR_RETURN(impl->acceptor, listen(impl->io, options.host, options.port));
  raise_descriptor_limit(options.max_connections);
  Error ignored;
  impl->port = impl->acceptor.local_endpoint(ignored).port();
  Impl& i = *impl;
  i.accept();
  i.sweep();
  i.thread = std::thread([&i] { i.run(); });
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::~Server() {
  stop();
  wait();
}

int Server::port() const {
  return impl_->port;
}

std::string Server::url() const {
  const bool v6 = impl_->options.host.find(':') != std::string::npos;
  return "http://" + (v6 ? "[" + impl_->options.host + "]" : impl_->options.host) + ":" +
         std::to_string(port());
}

void Server::request_drain() {
  asio::post(impl_->io, [impl = impl_.get()] { impl->drain(); });
}

void Server::stop() {
  asio::post(impl_->io, [impl = impl_.get()] { impl->shut_down(); });
}

void Server::wait() {
  const std::lock_guard lock(impl_->join_mutex);
  if (impl_->thread.joinable()) impl_->thread.join();
}

void run_until_signal(Server& server) {
  asio::io_context io;
  asio::signal_set signals(io, SIGINT, SIGTERM);
  int seen = 0;
  std::function<void()> listen_for_next = [&] {
    signals.async_wait([&](Error error, int) {
      if (error) return;
      if (++seen == 1) {
        log_info("finishing open requests; a second signal stops at once");
        server.request_drain();
        listen_for_next();
      } else {
        server.stop();
      }
    });
  };
  listen_for_next();
  std::thread watcher([&] { io.run(); });
  server.wait();
  io.stop();
  watcher.join();
}

}  // namespace octet
