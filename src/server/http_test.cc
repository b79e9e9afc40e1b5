// What arrives on the socket is not always what it should be.
#include <random>

#include <gtest/gtest.h>

#include "server/http_text.h"
#include "server/loopback_for_test.h"

namespace octet {
namespace {

using Http = Loopback;
using std::chrono::milliseconds;

Answer raw(int port, std::string_view bytes) {
  TestClient client(port);
  client.send(bytes);
  return client.read_answer();
}

TEST(HttpText, Paths) {
  EXPECT_EQ(decode_path("/a%20b?x=%zz#y"), "/a b");
  for (const char* bad : {"", "a", "/%", "/%1", "/%g0", "http://x/"}) EXPECT_FALSE(decode_path(bad)) << bad;
}

TEST(HttpText, Dates) {
  EXPECT_EQ(http_date(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");  // RFC 9110's example
}

TEST_F(Http, KeepAliveAndPipelining) {
  TestClient client(port());
  for (int i = 0; i < 3; ++i) {
    client.send_request("POST", "/v1/completions", R"({"prompt":"say:a"})");
    EXPECT_EQ(client.read_answer().status, 200);
  }
  const std::string body = R"({"prompt":"say:bcd"})";
  std::string burst;
  for (int i = 0; i < 50; ++i) {
    burst += "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
             "\r\n\r\n" + body + "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
  }
  client.send(burst);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(client.read_answer().json()["choices"][0]["text"], "bcd");
    EXPECT_EQ(client.read_answer().json()["status"], "ok");
  }
}

TEST_F(Http, AStreamIsFollowedByTheNextRequest) {
  TestClient client(port());
  client.send_request("POST", "/v1/completions", R"({"prompt":"say:abc","stream":true})");
  client.send_request("GET", "/health");
  EXPECT_TRUE(client.read_answer().done());
  EXPECT_EQ(client.read_answer().json()["status"], "ok");
}

TEST_F(Http, ChunkedBodiesOneByteAtATime) {
  TestClient client(port());
  client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (const char c : std::string(R"({"prompt":"say:hi"})"))
    client.send("1;ext=1\r\n" + std::string(1, c) + "\r\n");
  client.send("0\r\nTrailer: x\r\n\r\n");
  EXPECT_EQ(client.read_answer().json()["choices"][0]["text"], "hi");
}

TEST_F(Http, AHeaderOneByteAtATime) {
  TestClient client(port());
  for (const char c : std::string("GET /health HTTP/1.1\r\nHost: x\r\n\r\n")) client.send(std::string(1, c));
  EXPECT_EQ(client.read_answer().status, 200);
}

TEST_F(Http, ExpectContinue) {
  const std::string body = R"({"prompt":"say:hi"})";
  TestClient client(port());
  client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: " +
              std::to_string(body.size()) + "\r\n\r\n");
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send(body);
  EXPECT_EQ(client.read_answer().json()["choices"][0]["text"], "hi");
  // Refused by its head: the body is never asked for.
  EXPECT_EQ(
      raw(port(), "POST /nothing HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
          .status,
      404);
}

TEST_F(Http, Http10) {
  TestClient client(port());
  const std::string body = R"({"prompt":"say:hi","stream":true})";
  client.send("POST /v1/completions HTTP/1.0\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
              body);
  const Answer answer = client.read_answer();
  EXPECT_TRUE(answer.done());
  EXPECT_EQ(answer.header("transfer-encoding"), "");
  EXPECT_EQ(answer.header("connection"), "close");
}

TEST_F(Http, HeadHasNoBody) {
  TestClient client(port());
  client.send_request("HEAD", "/health");
  const Answer answer = client.read_answer(true);
  EXPECT_EQ(answer.header("content-length"), "15");
  client.send_request("GET", "/health");
  EXPECT_EQ(client.read_answer().body, R"({"status":"ok"})");
}

TEST_F(Http, Malformed) {
  for (const char* bytes :
       {"nonsense\r\n\r\n", "GET /health HTTP/9.9\r\n\r\n", "GET /health HTTP/1.1\r\n\r\n",
        "GET /% HTTP/1.1\r\nHost: x\r\n\r\n", "GET /health HTTP/1.1\r\nHost x\r\n\r\n",
        "POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        "POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST /tokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "\x16\x03\x01\x02\r\n\r\n", "\r\n\r\n\r\n\r\n"}) {
    TestClient client(port());
    client.send(bytes);
    EXPECT_EQ(client.read_answer().status, 400) << bytes;
  }
  EXPECT_EQ(raw(port(), "POST /tokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n").status, 501);
  EXPECT_EQ(
      raw(port(),
          "POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc")
          .status,
      415);
  EXPECT_EQ(get("/health").status, 200);
}

TEST_F(Http, BodiesThatAreNoJson) {
  EXPECT_EQ(complete("").error()["code"], "invalid_json");
  EXPECT_EQ(complete("{\"prompt\":\"\xFF\"}").error()["code"], "invalid_json");
  EXPECT_EQ(complete(std::string(1 << 20, '[')).error()["code"], "invalid_json");
  EXPECT_EQ(complete(R"({"prompt":)" + std::string(1 << 20, '{')).status, 400);
}

TEST_F(Http, TooLargeABody) {
  options_.max_body_bytes = 1000;
  const std::string body = R"({"prompt":"say:)" + std::string(2000, 'x') + "\"}";
  Answer answer = complete(body);
  EXPECT_EQ(answer.status, 413);
  EXPECT_EQ(answer.header("connection"), "close");
  EXPECT_NE(answer.error()["message"].get<std::string>().find("1000 bytes"), std::string::npos);
  TestClient chunked(port());
  chunked.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" +
               body);
  EXPECT_EQ(chunked.read_answer().status, 413);
  // A client that sends everything before it reads still gets its answer.
  answer = complete(R"({"prompt":")" + std::string(4 << 20, 'x') + "\"}");
  EXPECT_EQ(answer.status, 413);
}

TEST_F(Http, TooLargeAHeader) {
  EXPECT_EQ(get("/health", "X: " + std::string(20'000, 'x') + "\r\n").status, 431);
  std::string many;
  for (int i = 0; i < 3000; ++i) many += "X-" + std::to_string(i) + ": y\r\n";
  EXPECT_EQ(get("/health", many).status, 431);
  EXPECT_EQ(get("/" + std::string(20'000, 'x')).status, 431);
}

TEST_F(Http, SlowSenders) {
  options_.header_timeout = milliseconds(300);
  options_.body_timeout = milliseconds(300);
  options_.idle_timeout = milliseconds(300);
  TestClient idle(port()), header(port()), body(port());
  header.send("GET /health HT");
  body.send("POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{");
  EXPECT_EQ(header.read_answer().status, 408);
  EXPECT_EQ(body.read_answer().status, 408);
  EXPECT_TRUE(idle.read_to_end());
}

TEST_F(Http, ASlowHeaderIsNotSavedByDripping) {
  options_.header_timeout = milliseconds(400);
  TestClient client(port());
  const auto begin = std::chrono::steady_clock::now();
  try {
    client.send("GET /health HTTP/1.1\r\n");
    while (std::chrono::steady_clock::now() - begin < std::chrono::seconds(10)) {
      client.send("X: y\r\n");
      std::this_thread::sleep_for(milliseconds(50));
    }
    FAIL() << "the server listened for ten seconds";
  } catch (const std::exception&) {  // it closed the connection
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(8));
}

TEST_F(Http, ConnectionsAreBounded) {
  options_.max_connections = 3;
  port();
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<TestClient>(port()));
    clients.back()->send_request("GET", "/health");
    EXPECT_EQ(clients.back()->read_answer().status, 200);
  }
  EXPECT_EQ(get("/health").status, 503);
  clients.clear();
  EXPECT_TRUE(eventually([&] { return get("/health").status == 200; }));
}

TEST_F(Http, RandomBytesDoNoHarm) {
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    TestClient client(port());
    std::string bytes = i % 2 ? "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n" : "";
    for (int k = 0; k < 200; ++k) bytes += static_cast<char>(random());
    client.send(bytes);
  }
  EXPECT_EQ(get("/health").status, 200);
}

}  // namespace
}  // namespace octet
