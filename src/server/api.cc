#include "server/api.h"

#include <algorithm>
#include <chrono>

#include <boost/asio/post.hpp>
#include <fmt/format.h>

#include "base/log.h"
#include "server/http_text.h"
#include "server/json_text.h"
#include "server/page.h"

namespace octet {
namespace {

namespace asio = boost::asio;
constexpr size_t kLongBody = 64 << 10;
constexpr std::string_view kModelPrefix = "/v1/models/";

// Takes as long for a wrong key as for the right one.
bool same_key(std::string_view a, std::string_view b) {
  unsigned difference = a.size() != b.size();
  for (size_t i = 0; i < a.size(); ++i) {
    difference |=
        static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b.empty() ? 0 : b[i % b.size()]);
  }
  return difference == 0;
}

int64_t unix_seconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

HttpResponse wrong_method(const std::string& method, const std::string& path, const char* allowed) {
  HttpResponse response =
      error_response(api_error(405, fmt::format("{} is not possible for {}; use {}", method, path, allowed)));
  response.headers.emplace_back("Allow", allowed);
  return response;
}

}  // namespace

struct Api::Route {
  std::string_view path;
  HttpResponse (Api::*get)(const HttpRequest&) = nullptr;
  void (Api::*post)(HttpRequest, std::shared_ptr<Exchange>) = nullptr;
  bool needs_key = true;
};

const std::vector<Api::Route>& Api::routes() {
  static const std::vector<Route> kRoutes = {
      {"/v1/chat/completions", nullptr, &Api::chat},
      {"/v1/completions", nullptr, &Api::completions},
      {"/tokenize", nullptr, &Api::tokenize},
      {"/detokenize", nullptr, &Api::detokenize},
      {"/v1/models", &Api::models},
      {"/v1/status", &Api::status},
      {"/health", &Api::health, nullptr, false},
      {"/version", &Api::version, nullptr, false},
      {"/metrics", &Api::metrics, nullptr, false},
      {"/", &Api::page, nullptr, false},
  };
  return kRoutes;
}

Api::Api(const ServedModel& model, const ServerOptions& options, asio::io_context& io, ApiState& state)
    : model_(model),
      options_(options),
      io_(io),
      state_(state),
      name_(options.served_model_name.empty() ? model.name : options.served_model_name),
      rules_(request_rules(model, name_)),
      created_(unix_seconds()) {
  // The mailbox outlives this object in the callbacks the engine holds, but wakes nobody after close().
  struct Wake {
    asio::io_context& io;
    std::weak_ptr<EventMailbox> mailbox;
  };
  auto wake = std::make_shared<Wake>(Wake{io, {}});
  mailbox_ = std::make_shared<EventMailbox>([wake] {
    asio::post(wake->io, [mailbox = wake->mailbox] {
      if (const auto alive = mailbox.lock()) alive->deliver();
    });
  });
  wake->mailbox = mailbox_;
}

Api::~Api() {
  stop();
  quick_.join();
  bulk_.join();
}

void Api::stop() {
  mailbox_->close();
  quick_.stop();
  bulk_.stop();
}

// ---- who may, and what there is ----

const Api::Route* Api::find_route(const std::string& path) const {
  static const Route kOneModel{kModelPrefix, &Api::one_model};
  if (path == "/" && !options_.page) return nullptr;
  for (const Route& route : routes()) {
    if (route.path == path) return &route;
  }
  return path.starts_with(kModelPrefix) ? &kOneModel : nullptr;
}

bool Api::authorized(const HttpRequest& head) const {
  constexpr std::string_view kBearer = "Bearer ";
  if (options_.api_keys.empty()) return true;
  if (!head.authorization.starts_with(kBearer)) return false;
  const std::string_view given = std::string_view(head.authorization).substr(kBearer.size());
  bool found = false;
  for (const std::string& key : options_.api_keys) found |= same_key(given, key);
  return found;
}

std::optional<HttpResponse> Api::admit(const HttpRequest& head) const {
  const Route* route = find_route(head.path);
  if (route == nullptr) {
    return error_response(
        api_error(404, "there is nothing at this path; docs/serving.md lists what there is"));
  }
  if (head.method == "OPTIONS" && !options_.cors_origins.empty()) {
    HttpResponse preflight;
    preflight.status = 204;
    preflight.content_type.clear();
    preflight.headers = {{"Access-Control-Allow-Methods", "GET, POST, OPTIONS"},
                         {"Access-Control-Allow-Headers",
                          "authorization, content-type, x-requested-with, "
                          "x-stainless-arch, x-stainless-lang, x-stainless-os, "
                          "x-stainless-package-version, x-stainless-runtime, "
                          "x-stainless-runtime-version, x-stainless-retry-count, "
                          "x-stainless-timeout"},
                         {"Access-Control-Max-Age", "600"}};
    return preflight;
  }
  const bool is_get = head.method == "GET" || head.method == "HEAD";
  if (route->get != nullptr && !is_get) return wrong_method(head.method, head.path, "GET");
  if (route->post != nullptr && head.method != "POST") return wrong_method(head.method, head.path, "POST");
  if (route->needs_key && !authorized(head)) {
    return error_response(api_error(401,
                                    head.authorization.empty()
                                        ? "an API key is needed: Authorization: Bearer KEY"
                                        : "the API key in the Authorization header is wrong",
                                    "invalid_api_key"));
  }
  if (route->post != nullptr && state_.draining) {
    return error_response(api_error(503, "the server is shutting down", "shutting_down"));
  }
  return std::nullopt;
}

void Api::add_cors(const std::string& origin, HttpResponse& response) const {
  if (origin.empty()) return;
  for (const std::string& allowed : options_.cors_origins) {
    if (allowed != "*" && allowed != origin) continue;
    response.headers.emplace_back("Access-Control-Allow-Origin", allowed);
    if (allowed != "*") response.headers.emplace_back("Vary", "Origin");
    return;
  }
}

void Api::handle(HttpRequest request, std::shared_ptr<Exchange> exchange) {
  const Route* route = find_route(request.path);
  if (route->get != nullptr) return exchange->respond((this->*route->get)(request));
  (this->*route->post)(std::move(request), std::move(exchange));
}

// ---- what is known at once ----

std::string Api::model_json() const {
  std::string out = R"({"id":)";
  append_json_string(out, name_);
  out += fmt::format(R"(,"object":"model","created":{},"owned_by":"octet","root":)", created_);
  append_json_string(out, model_.name);
  out += fmt::format(R"(,"parent":null,"max_model_len":{},"scheme":)", model_.engine.max_context());
  append_json_string(out, model_.scheme);
  out += '}';
  return out;
}

HttpResponse Api::models(const HttpRequest&) {
  return json_response(R"({"object":"list","data":[)" + model_json() + "]}");
}

HttpResponse Api::one_model(const HttpRequest& request) {
  if (request.path.substr(kModelPrefix.size()) == name_) return json_response(model_json());
  return error_response(api_error(
      404, fmt::format("this model does not exist here; this server has '{}'", name_), "model_not_found"));
}

HttpResponse Api::health(const HttpRequest&) {
  if (const Status engine = model_.engine.status(); !engine.ok()) {
    return error_response(api_error(503, engine.message()));
  }
  HttpResponse response = json_response(state_.draining ? R"({"status":"draining"})" : R"({"status":"ok"})");
  if (state_.draining) response.status = 503;
  return response;
}

HttpResponse Api::version(const HttpRequest&) {
  return json_response(R"({"version":")" OCTET_VERSION R"("})");
}

MetricsInput Api::metrics_input(const EngineMetrics& engine) const {
  return {engine,
          state_.stats,
          name_,
          model_.scheme,
          model_.kv_cache,
          model_.engine.max_context(),
          state_.connections,
          state_.draining};
}

HttpResponse Api::metrics(const HttpRequest&) {
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = metrics_text(metrics_input(model_.engine.metrics()));
  return response;
}

HttpResponse Api::status(const HttpRequest&) {
  return json_response(status_json(metrics_input(model_.engine.metrics())));
}

HttpResponse Api::page(const HttpRequest&) {
  constexpr std::string_view kMark = "{{nonce}}";
  const std::string nonce = random_hex();
  HttpResponse response;
  response.content_type = "text/html; charset=utf-8";
  for (size_t at = 0; at < kPageHtml.size();) {
    const size_t mark = std::min(kPageHtml.find(kMark, at), kPageHtml.size());
    response.body += kPageHtml.substr(at, mark - at);
    if (mark < kPageHtml.size()) response.body += nonce;
    at = mark + kMark.size();
  }
  response.headers = {
      {"Content-Security-Policy",
       fmt::format("default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; connect-src 'self'; "
                   "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                   nonce)},
      {"X-Content-Type-Options", "nosniff"},
      {"Referrer-Policy", "no-referrer"},
      {"Cache-Control", "no-store"}};
  return response;
}

// ---- what takes a worker ----

std::string Api::random_hex() {
  return fmt::format("{:016x}{:016x}", random_(), random_());
}

template <typename T>
void Api::run(HttpRequest request, std::shared_ptr<Exchange> exchange,
              Prepared<T> (*work)(const std::string&, const ServedModel&, const RequestRules&)) {
  asio::thread_pool& worker = request.body.size() > kLongBody ? bulk_ : quick_;
  asio::post(worker, [this, work, request = std::move(request), exchange = std::move(exchange)]() mutable {
    Prepared<T> result = api_error(500, "the request could not be prepared");
    try {
      result = work(request.body, model_, rules_);
    } catch (const std::exception& e) {  // out of memory, most likely
      log_error(fmt::format("preparing a request failed: {}", e.what()));
    }
    request = {};
    asio::post(io_, [this, result = std::move(result), exchange = std::move(exchange)]() mutable {
      if (auto* error = std::get_if<ApiError>(&result)) return exchange->respond(error_response(*error));
      finish(std::get<T>(std::move(result)), std::move(exchange));
    });
  });
}

void Api::finish(PreparedGeneration prepared, std::shared_ptr<Exchange> exchange) {
  ResponseHead head;
  head.kind = prepared.kind;
  head.id = (head.kind == ApiKind::kChat ? "chatcmpl-" : "cmpl-") + random_hex();
  head.created = unix_seconds();
  head.model = name_;
  const GenerationContext context{model_, mailbox_, state_.stats, options_.max_unsent_bytes};
  Generation::start(context, std::move(head), std::move(prepared), std::move(exchange));
}

void Api::finish(std::string json, std::shared_ptr<Exchange> exchange) {
  exchange->respond(json_response(std::move(json)));
}

void Api::completions(HttpRequest request, std::shared_ptr<Exchange> exchange) {
  run(std::move(request), std::move(exchange), prepare_completion);
}

void Api::chat(HttpRequest request, std::shared_ptr<Exchange> exchange) {
  run(std::move(request), std::move(exchange), prepare_chat);
}

void Api::tokenize(HttpRequest request, std::shared_ptr<Exchange> exchange) {
  run(std::move(request), std::move(exchange), tokenize_json);
}

void Api::detokenize(HttpRequest request, std::shared_ptr<Exchange> exchange) {
  run(std::move(request), std::move(exchange), detokenize_json);
}

}  // namespace octet
