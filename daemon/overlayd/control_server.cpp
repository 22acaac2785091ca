#include "daemon/overlayd/control_server.hpp"

#include "daemon/io/unix_address.hpp"

#include <openssl/crypto.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

namespace overlay::overlayd {

namespace {

constexpr std::size_t max_clients = 16;
constexpr std::size_t saved_descriptors = 4;   ///< a client, and the files that what it asks for may need
constexpr int answer_room_bytes = 16 * 1024 * 1024;   // of the socket: an answer is given at once or not at all

io::UniqueFd new_socket() {
    return io::UniqueFd{::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
}

bool is_served(const io::UnixAddress& address) {
    const io::UniqueFd probe = new_socket();
    return probe && ::connect(probe.get(), address.get(), io::UnixAddress::size_bytes()) == 0;
}

/// Root, and who we are ourselves.
bool may_talk(int fd) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
    return peer.uid == 0 || peer.uid == ::geteuid();
}

}  // namespace

// ---- one client ---------------------------------------------------------------------------------

class ControlServer::Client final : public io::Reader {
  public:
    Client(ControlServer& server, io::UniqueFd fd) : server_{server}, fd_{std::move(fd)} {}
    ~Client() override { OPENSSL_cleanse(received_.data(), received_.size()); }

    Result<void> watch() {
        auto watch = server_.loop_.watch(fd_.get(), *this);
        if (!watch) return pass_on(watch);
        watch_ = std::move(*watch);
        return {};
    }

    [[nodiscard]] std::uint64_t last_turn() const { return last_turn_; }

    void on_readable() override {
        last_turn_ = ++server_.turns_;
        if (!read() || !answer_all()) server_.drop(fd_.get());   // this object is gone
    }

  private:
    /// False: it has hung up.
    bool read() {
        std::array<char, 65536> buffer{};
        const ssize_t size = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
        if (size < 0) return errno == EAGAIN || errno == EINTR;
        received_.append(buffer.data(), static_cast<std::size_t>(size));
        OPENSSL_cleanse(buffer.data(), static_cast<std::size_t>(size));
        return size > 0;
    }

    bool answer_all() {
        for (;;) {
            auto request = control::take_request(received_);
            if (!request) return false;
            if (!*request) return true;
            auto answered = server_.serve_(**request);
            OPENSSL_cleanse((*request)->body.data(), (*request)->body.size());
            std::string text = answered ? control::answer(*answered) : control::answer(answered.error());
            const ssize_t sent = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
            const bool arrived = sent == static_cast<ssize_t>(text.size());
            OPENSSL_cleanse(text.data(), text.size());
            if (answered) OPENSSL_cleanse(answered->data(), answered->size());
            if (!arrived) return false;
        }
    }

    ControlServer& server_;
    io::UniqueFd fd_;
    io::Watch watch_;
    std::string received_;
    std::uint64_t last_turn_ = ++server_.turns_;
};

// ---- all of them --------------------------------------------------------------------------------

ControlServer::ControlServer(io::EventLoop& loop, Serve serve, std::string path)
    : loop_{loop}, serve_{std::move(serve)}, path_{std::move(path)} {}

Result<std::unique_ptr<ControlServer>> ControlServer::listen(const std::string& run_directory,
                                                             io::EventLoop& loop, Serve serve) {
    const std::string path = control::socket_path(run_directory);
    const std::string doing = "listen at " + path;
    const auto address = io::UnixAddress::of(path);
    if (!address) return pass_on(address);
    std::unique_ptr<ControlServer> out{new ControlServer{loop, std::move(serve), path}};
    if (is_served(*address))
        return fail(Error::Kind::Conflict, doing, "another overlayd serves it", EADDRINUSE);
    (void)::unlink(path.c_str());
    out->fd_ = new_socket();
    const mode_t former = ::umask(0077);
    const bool listens = out->fd_ &&
                         ::bind(out->fd_.get(), address->get(), io::UnixAddress::size_bytes()) == 0 &&
                         ::listen(out->fd_.get(), max_clients) == 0;
    const int why = errno;
    ::umask(former);
    if (!listens) return fail(io::system_error(doing, why));
    if (const auto watched = out->watch(); !watched) return pass_on(watched);
    out->save_descriptors();
    return out;
}

Result<void> ControlServer::watch() {
    auto watch = loop_.watch(fd_.get(), *this);
    if (!watch) return pass_on(watch);
    watch_.emplace(std::move(*watch));
    return {};
}

ControlServer::~ControlServer() {
    if (fd_) (void)::unlink(path_.c_str());
}

/// Who does not get in for want of descriptors, the saved ones gone too, is there still, so that the loop would turn
/// for nothing: until the next look it is not asked. Where there is no room, whoever has been silent for longest has
/// to go.
void ControlServer::on_readable() {
    const auto next = [&] {
        return io::UniqueFd{::accept4(fd_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
    };
    io::UniqueFd fd = next();
    if (!fd && (errno == EMFILE || errno == ENFILE) && !saved_.empty()) {
        saved_.clear();
        fd = next();
    }
    if (!fd) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) watch_.reset();
        return;
    }
    if (!may_talk(fd.get())) return;
    if (clients_.size() >= max_clients) {
        clients_.erase(std::ranges::min_element(
            clients_, {}, [](const auto& each) { return each.second->last_turn(); }));
    }
    (void)::setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUFFORCE, &answer_room_bytes,
                       sizeof answer_room_bytes);
    const int number = fd.get();
    auto client = std::make_unique<Client>(*this, std::move(fd));
    if (client->watch()) clients_.insert_or_assign(number, std::move(client));
}

void ControlServer::on_time() {
    if (!watch_) (void)watch();
    if (clients_.empty()) save_descriptors();
}

void ControlServer::drop(int fd) {
    clients_.erase(fd);
    if (clients_.empty()) save_descriptors();
}

void ControlServer::save_descriptors() {
    while (saved_.size() < saved_descriptors) {
        io::UniqueFd copy{::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0)};
        if (!copy) return;
        saved_.push_back(std::move(copy));
    }
}

}  // namespace overlay::overlayd
