// The routes: which path and method does what, who may, and what is refused before a body is read.
#pragma once

#include <memory>
#include <optional>
#include <random>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>

#include "server/exchange.h"
#include "server/generation.h"
#include "server/metrics_page.h"

namespace octet {

// What the routes see of the server.
struct ApiState {
  int64_t connections = 0;
  bool draining = false;
  RequestStats stats;
};

class Api {
 public:
  Api(const ServedModel& model, const ServerOptions& options, boost::asio::io_context& io, ApiState& state);
  ~Api();  // waits for the workers

  std::optional<HttpResponse> admit(const HttpRequest& head) const;
  void handle(HttpRequest request, std::shared_ptr<Exchange> exchange);
  // CORS headers for a request from another origin, where it is one that may call.
  void add_cors(const std::string& origin, HttpResponse& response) const;
  // No event of the engine arrives from here on, and no worker begins anything new.
  void stop();

 private:
  struct Route;
  static const std::vector<Route>& routes();
  const Route* find_route(const std::string& path) const;
  bool authorized(const HttpRequest& head) const;

  HttpResponse models(const HttpRequest& request);
  HttpResponse one_model(const HttpRequest& request);
  HttpResponse health(const HttpRequest& request);
  HttpResponse version(const HttpRequest& request);
  HttpResponse metrics(const HttpRequest& request);
  HttpResponse status(const HttpRequest& request);
  HttpResponse page(const HttpRequest& request);
  MetricsInput metrics_input(const EngineMetrics& engine) const;
  std::string model_json() const;

  void completions(HttpRequest request, std::shared_ptr<Exchange> exchange);
  void chat(HttpRequest request, std::shared_ptr<Exchange> exchange);
  void tokenize(HttpRequest request, std::shared_ptr<Exchange> exchange);
  void detokenize(HttpRequest request, std::shared_ptr<Exchange> exchange);
  // Runs `work` on a worker with the body, and finish() on the I/O thread with what it made.
  template <typename T>
  void run(HttpRequest request, std::shared_ptr<Exchange> exchange,
           Prepared<T> (*work)(const std::string&, const ServedModel&, const RequestRules&));
  void finish(PreparedGeneration prepared, std::shared_ptr<Exchange> exchange);
  void finish(std::string json, std::shared_ptr<Exchange> exchange);
  std::string random_hex();

  const ServedModel& model_;
  const ServerOptions& options_;
  boost::asio::io_context& io_;
  ApiState& state_;
  std::string name_;
  RequestRules rules_;
  std::shared_ptr<EventMailbox> mailbox_;
  std::mt19937_64 random_{std::random_device{}()};
  int64_t created_;
  // Long bodies have a worker of their own, so that they hold up no short one.
  boost::asio::thread_pool quick_{1}, bulk_{1};
};

}  // namespace octet
