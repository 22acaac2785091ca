// A device's socket, its files and its clients. Time is told, and waited for but where a lock is held.

#include "daemon/io/uapi_socket.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

using namespace overlay;
using namespace overlay::io;
using namespace std::chrono_literals;

namespace {

using Clock = UapiSocket::Clock;
using SecretText = UapiSocket::SecretText;
constexpr Clock::time_point start{1h};

SecretText text_of(std::string_view text) { return {text.begin(), text.end()}; }

struct Folder {
    Folder() {
        std::string pattern = (std::filesystem::temp_directory_path() / "uapi.XXXXXX").string();
        REQUIRE(::mkdtemp(pattern.data()) != nullptr);
        path = pattern;
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() { std::filesystem::remove_all(path); }
    [[nodiscard]] std::string socket() const { return path + "/run/wg0.sock"; }
    std::string path;
};

sockaddr_un address_of(const std::string& path) {
    sockaddr_un out{};
    out.sun_family = AF_UNIX;
    std::ranges::copy(path, std::begin(out.sun_path));
    return out;
}

unsigned mode_of(const std::string& path) {
    struct stat info {};
    REQUIRE(::lstat(path.c_str(), &info) == 0);
    return info.st_mode & 07777U;
}

bool is_readable(int fd) {
    pollfd watched{fd, POLLIN, 0};
    return ::poll(&watched, 1, 0) == 1;
}

struct Server {
    explicit Server(UapiSocketOptions wanted = {}) : options{std::move(wanted)} {
        options.folder = folder.path + "/run";
        auto opened = UapiSocket::open(*IfName::parse("wg0"), options, [this](auto request) {
            requests.emplace_back(request);
            return text_of(answer);
        });
        REQUIRE_MESSAGE(opened, (opened ? "" : text(opened.error())));
        socket.emplace(std::move(*opened));
    }
    void work() {
        for (int turns = 0; turns < 1000 && is_readable(socket->fd()); ++turns)
            socket->on_readable(now);
    }

    Folder folder;
    UapiSocketOptions options;
    std::vector<std::string> requests;
    std::string answer = "errno=0\n\n";
    Clock::time_point now = start;
    std::optional<UapiSocket> socket;
};

struct Client {
    explicit Client(Server& to)
        : server{to}, fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)} {
        const sockaddr_un address = address_of(to.folder.socket());
        REQUIRE(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
                0);
        to.work();
    }
    void say(std::string_view text) {
        while (!text.empty()) {
            const ssize_t put = ::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL);
            server.work();
            if (put < 0 && errno != EAGAIN) return;
            text.remove_prefix(put > 0 ? static_cast<std::size_t>(put) : 0);
        }
    }
    /// What was answered, or "hung up".
    std::string hear() {
        server.work();
        std::string out(1 << 20, '\0');
        const ssize_t got = ::recv(fd.get(), out.data(), out.size(), 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) return "hung up";
        out.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
        return out;
    }
    Server& server;
    UniqueFd fd;
};

Result<UapiSocket> open_in(const std::string& folder, const std::string& device = "wg0") {
    UapiSocketOptions options;
    options.folder = folder;
    return UapiSocket::open(*IfName::parse(device), options,
                            [](std::string_view) { return SecretText{}; });
}

}  // namespace

TEST_SUITE("uapi socket") {

    TEST_CASE("it is named after the device, for its owner alone, and gone with the device") {
        Server server;
        CHECK(mode_of(server.folder.path + "/run") == 0700);
        CHECK(mode_of(server.folder.socket()) == 0600);

        server.socket.reset();
        CHECK_FALSE(std::filesystem::exists(server.folder.socket()));
        CHECK(std::filesystem::exists(server.folder.path + "/run"));
    }

    TEST_CASE("a socket that another one has put in our place is not removed") {
        Server server;
        std::filesystem::remove(server.folder.socket());
        std::ofstream{server.folder.socket()} << "other";

        server.socket.reset();
        CHECK(std::filesystem::exists(server.folder.socket()));
    }

    TEST_CASE("a socket that nobody listens at any more is replaced") {
        Folder folder;
        std::filesystem::create_directory(folder.path + "/run");
        {
            const UniqueFd dead{::socket(AF_UNIX, SOCK_STREAM, 0)};
            const sockaddr_un address = address_of(folder.socket());
            REQUIRE(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&address),
                           sizeof address) == 0);
        }

        CHECK(open_in(folder.path + "/run"));
    }

    TEST_CASE("a device that somebody serves is refused, with the name of who does") {
        Server server;

        const auto second = open_in(server.options.folder);
        REQUIRE_FALSE(second);
        CHECK(second.error().kind == Error::Kind::Conflict);
        CHECK(text(second.error()) == "listen at " + server.folder.socket() + ": process " +
                                          std::to_string(::getpid()) +
                                          " (unit_tests) serves this device");
        Client client{server};
        client.say("get=1\n\n");
        CHECK(client.hear() == "errno=0\n\n");
    }

    TEST_CASE("what is no socket is not touched") {
        Folder folder;
        std::filesystem::create_directory(folder.path + "/run");
        std::ofstream{folder.socket()} << "precious";

        CHECK(open_in(folder.path + "/run").error().kind == Error::Kind::Conflict);
        CHECK(std::filesystem::file_size(folder.socket()) == 8);
    }

    TEST_CASE("a folder that others may write to is no place for keys") {
        for (const unsigned mode : {0777U, 01777U, 0770U}) {
            CAPTURE(mode);
            Folder folder;
            REQUIRE(::chmod(folder.path.c_str(), mode) == 0);

            CHECK(open_in(folder.path).error().kind == Error::Kind::NotPermitted);
            CHECK(std::filesystem::is_empty(folder.path));
        }
    }

    TEST_CASE("a folder that somebody holds locked is not waited for") {
        const Folder folder;
        REQUIRE(::chmod(folder.path.c_str(), 0755) == 0);
        UniqueFd reader{::open(folder.path.c_str(), O_RDONLY | O_DIRECTORY)};
        REQUIRE(::flock(reader.get(), LOCK_EX) == 0);
        std::thread goes{[&] {
            std::this_thread::sleep_for(1s);
            reader = UniqueFd{};
        }};
        const auto opened = open_in(folder.path);
        goes.join();
        REQUIRE_FALSE(opened);
        CHECK(opened.error().kind == Error::Kind::Busy);
        CHECK(open_in(folder.path));
    }

    TEST_CASE("a path that does not fit into a socket's address is an error") {
        Folder folder;
        CHECK(open_in(folder.path + "/" + std::string(100, 'x')).error().kind ==
              Error::Kind::Invalid);
    }

    TEST_CASE("a request is heard when its empty line is there, however it comes") {
        Server server;
        Client client{server};
        for (const char each : std::string_view{"set=1\na=b\n\n"}) {
            CHECK(server.requests.empty());
            client.say({&each, 1});
        }

        CHECK(server.requests == std::vector<std::string>{"set=1\na=b\n\n"});
        CHECK(client.hear() == "errno=0\n\n");
        client.say("get=1\n\nset=1\n\nget=");  // ahead of the answers
        CHECK(client.hear() == "errno=0\n\nerrno=0\n\n");
        client.say("2\n\n");
        CHECK(server.requests.back() == "get=2\n\n");
        CHECK(server.requests.size() == 4);
    }

    TEST_CASE("half a request is none, when the client goes") {
        Server server;
        {
            Client client{server};
            client.say("set=1\na=b\n");
            CHECK(server.socket->clients() == 1);
        }

        server.work();
        CHECK(server.socket->clients() == 0);
        CHECK(server.requests.empty());
    }

    TEST_CASE("a client that shuts its sending half still gets its answer") {
        Server server;
        Client client{server};
        client.say("get=1\n\n");
        (void)::shutdown(client.fd.get(), SHUT_WR);
        server.work();

        CHECK(client.hear() == "errno=0\n\n");
        CHECK(client.hear() == "hung up");
    }

    TEST_CASE("an empty answer hangs up, and an empty first line is a whole request") {
        Server server;
        server.answer = "";
        Client client{server};
        client.say("\n");

        CHECK(client.hear() == "hung up");
        CHECK(server.requests == std::vector<std::string>{"\n"});
    }

    TEST_CASE("a request that is too long is refused when it ends, and the next one is heard") {
        for (const std::size_t size : {101UL, 165UL, 70'000UL, 1'000'000UL}) {
            CAPTURE(size);
            Server server{{.max_request_bytes = 100}};
            Client client{server};
            client.say(std::string(size - 2, 'x') + "\n\n");

            CHECK(client.hear() == "errno=-90\n\n");
            CHECK(server.requests.empty());
            client.say(std::string(98, 'x') + "\n\n");
            CHECK(client.hear() == "errno=0\n\n");
            CHECK(server.requests.size() == 1);
        }
    }

    TEST_CASE("a long answer goes as fast as it is read, and holds nobody else up") {
        Server server;
        server.answer = std::string(3'000'000, 'x') + "\n\n";
        Client slow{server};
        slow.say("get=1\n\nget=1\n\n");
        CHECK_FALSE(is_readable(server.socket->fd()));  // it waits for room, and does not turn
        CHECK(server.requests.size() == 1);             // the second one for the first answer

        server.answer = "errno=0\n\n";
        Client other{server};
        other.say("get=1\n\n");
        CHECK(other.hear() == "errno=0\n\n");
        std::string all;
        for (std::string part = slow.hear(); !part.empty(); part = slow.hear()) all += part;
        CHECK(all.size() == 3'000'002 + 9);
        CHECK(server.requests.size() == 3);
    }

    TEST_CASE("a client that neither speaks nor listens for too long is dropped") {
        Server server{{.max_idle = 60s}};
        CHECK(server.socket->next_deadline() == wireguard::never);
        Client idle{server};
        server.now += 30s;
        Client busy{server};
        CHECK(server.socket->next_deadline() == start + 60s);

        server.now += 29s;
        busy.say("get");
        server.socket->on_time(server.now);
        CHECK(server.socket->clients() == 2);
        server.now += 1s;
        server.socket->on_time(server.now);
        CHECK(server.socket->clients() == 1);
        CHECK(idle.hear() == "hung up");
        CHECK(server.socket->next_deadline() == start + 59s + 60s);
    }

    TEST_CASE("one client too many costs the idlest its place") {
        Server server{{.max_clients = 2}};
        Client first{server};
        server.now += 1s;
        Client second{server};
        server.now += 1s;
        first.say("get");
        server.now += 1s;
        Client third{server};

        CHECK(server.socket->clients() == 2);
        CHECK(second.hear() == "hung up");
        first.say("=1\n\n");
        CHECK(first.hear() == "errno=0\n\n");
        third.say("get=1\n\n");
        CHECK(third.hear() == "errno=0\n\n");
    }

    TEST_CASE("without descriptors nobody is let in, and the loop does not turn for nothing") {
        Server server;
        rlimit before{};
        REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
        const UniqueFd waiting{::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)};
        const sockaddr_un address = address_of(server.folder.socket());
        REQUIRE(::connect(waiting.get(), reinterpret_cast<const sockaddr*>(&address),
                          sizeof address) == 0);
        const rlimit none{static_cast<rlim_t>(waiting.get()), before.rlim_max};
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
        server.socket->on_readable(server.now);
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);

        CHECK_FALSE(is_readable(server.socket->fd()));
        CHECK(server.socket->clients() == 0);
        CHECK(server.socket->next_deadline() == start + 1s);
        server.socket->on_time(start + 1s);
        server.work();
        CHECK(server.socket->clients() == 1);
    }
}
