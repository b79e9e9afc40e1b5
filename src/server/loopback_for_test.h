// For tests: a server with the fake engine on a free port, and a blocking client that can also misbehave.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "server/fake_engine.h"
#include "server/server.h"

namespace octet {

struct Answer {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  nlohmann::json json() const { return nlohmann::json::parse(body); }
  std::string header(const std::string& name) const { return headers.contains(name) ? headers.at(name) : ""; }
  nlohmann::json error() const { return json().at("error"); }
  // The data of the events of a stream, without [DONE].
  std::vector<nlohmann::json> events() const {
    std::vector<nlohmann::json> result;
    for (size_t at = 0; (at = body.find("data: ", at)) != std::string::npos;) {
      const size_t end = body.find("\n\n", at);
      const std::string data = body.substr(at + 6, end - at - 6);
      if (data != "[DONE]") result.push_back(nlohmann::json::parse(data));
      at = end;
    }
    return result;
  }
  bool done() const { return body.ends_with("data: [DONE]\n\n"); }
};

class TestClient {
 public:
  explicit TestClient(int port, int receive_buffer = 0) : socket_(io_) {
    socket_.open(boost::asio::ip::tcp::v4());
    if (receive_buffer > 0) socket_.set_option(boost::asio::socket_base::receive_buffer_size(receive_buffer));
    socket_.connect({boost::asio::ip::make_address("127.0.0.1"), static_cast<uint16_t>(port)});
    timeval timeout{20, 0};
    setsockopt(socket_.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  }

  void send(std::string_view bytes) { boost::asio::write(socket_, boost::asio::buffer(bytes)); }
  void send_request(const std::string& method, const std::string& path, const std::string& body = "",
                    const std::string& headers = "") {
    send(method + " " + path + " HTTP/1.1\r\nHost: x\r\n" + headers +
         (method == "POST" ? "Content-Length: " + std::to_string(body.size()) + "\r\n" : "") + "\r\n" + body);
  }
  Answer read_answer(bool head = false) {
    namespace http = boost::beast::http;
    http::response_parser<http::string_body> parser;
    parser.body_limit(64 << 20);
    parser.skip(head);
    http::read(socket_, buffer_, parser);
    Answer answer;
    answer.status = static_cast<int>(parser.get().result_int());
    for (const auto& field : parser.get()) {
      std::string name(field.name_string());
      for (char& c : name) c = static_cast<char>(std::tolower(c));
      answer.headers[name] = std::string(field.value());
    }
    answer.body = parser.get().body();
    return answer;
  }
  // Reads until `text` has come; what came so far.
  std::string read_until(const std::string& text) {
    std::string all;
    char piece[4096];
    while (all.find(text) == std::string::npos)
      all.append(piece, socket_.read_some(boost::asio::buffer(piece)));
    return all;
  }
  // True where the server ends the connection, after whatever it still sends.
  bool read_to_end() {
    char piece[4096];
    boost::system::error_code error;
    while (!error) socket_.read_some(boost::asio::buffer(piece), error);
    return error == boost::asio::error::eof || error == boost::asio::error::connection_reset;
  }
  void close() { socket_.close(); }

 private:
  boost::asio::io_context io_;
  boost::asio::ip::tcp::socket socket_;
  boost::beast::flat_buffer buffer_;
};

class Loopback : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.port = 0;
    chat_template_ =
        std::make_unique<ChatTemplate>(std::move(ChatTemplate::parse(kFakeChatTemplate)).value());
  }
  void TearDown() override { server_.reset(); }

  int start() {
    engine_ = std::make_unique<FakeEngine>(engine_options_);
    auto server = Server::start(model(), options_);
    EXPECT_TRUE(server.ok()) << server.status().message();
    server_ = std::move(server).value();
    return server_->port();
  }
  ServedModel model() {
    return {*engine_,
            tokenizer_,
            with_template_ ? chat_template_.get() : nullptr,
            {},
            "fake",
            "int8-minmax",
            "bf16",
            FakeTokenizer::kSize,
            {FakeTokenizer::kEos}};
  }
  int port() {
    if (server_ == nullptr) start();
    return server_->port();
  }
  Answer get(const std::string& path, const std::string& headers = "") {
    TestClient client(port());
    client.send_request("GET", path, "", headers);
    return client.read_answer();
  }
  Answer post(const std::string& path, const std::string& body, const std::string& headers = "") {
    TestClient client(port());
    client.send_request("POST", path, body, headers);
    return client.read_answer();
  }
  Answer complete(const std::string& body) { return post("/v1/completions", body); }
  Answer chat(const std::string& members, const std::string& content = "say:hello") {
    const nlohmann::json message = {{"role", "user"}, {"content", content}};
    return post("/v1/chat/completions",
                R"({"messages":[)" + message.dump() + "]" + (members.empty() ? "" : "," + members) + "}");
  }
  template <typename Condition>
  static bool eventually(Condition condition, std::chrono::milliseconds limit = std::chrono::seconds(15)) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
  }

  FakeEngineOptions engine_options_;
  ServerOptions options_;
  bool with_template_ = true;
  FakeTokenizer tokenizer_;
  std::unique_ptr<ChatTemplate> chat_template_;
  std::unique_ptr<FakeEngine> engine_;
  std::unique_ptr<Server> server_;  // last: it goes first
};

}  // namespace octet
