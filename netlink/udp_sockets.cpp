#include "netlink/udp_sockets.hpp"

#include "netlink/fd.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include <netinet/in.h>
#include <sys/socket.h>

namespace overlay::netlink {

namespace {

std::optional<std::uint32_t> parse_hex(std::string_view digits) {
    std::uint32_t value = 0;
    const char* const end = digits.data() + digits.size();
    const auto [stopped, error] = std::from_chars(digits.data(), end, value, 16);
    if (error != std::errc{} || stopped != end) return std::nullopt;
    return value;
}

/// The kernel prints an address as 32-bit words in its own byte order (net/ipv4/udp.c, "%08X").
std::optional<IpAddress> parse_hex_address(Family family, std::string_view digits) {
    std::array<std::uint8_t, 16> bytes{};
    const std::size_t size_bytes = family == Family::Ipv4 ? 4 : 16;
    if (digits.size() != size_bytes * 2) return std::nullopt;
    for (std::size_t at = 0; at < size_bytes; at += 4) {
        const auto word = parse_hex(digits.substr(at * 2, 8));
        if (!word) return std::nullopt;
        std::memcpy(bytes.data() + at, &*word, sizeof *word);
    }
    return IpAddress::from_bytes(family, bytes.data());
}

std::vector<UdpLine> read_lines(Family family) {
    // thread-self: a thread may be in another namespace than its process.
    std::ifstream file{family == Family::Ipv4 ? "/proc/thread-self/net/udp"
                                              : "/proc/thread-self/net/udp6"};
    std::vector<UdpLine> lines;
    std::string line;
    while (std::getline(file, line)) {
        if (auto parsed = parse_udp_line(family, line)) lines.push_back(*std::move(parsed));
    }
    return lines;
}

bool holds_socket(const std::filesystem::path& process, const std::string& link_text) {
    std::error_code ignored;   // processes come and go, and some are not ours to look into
    for (const auto& fd : std::filesystem::directory_iterator{process / "fd", ignored}) {
        if (std::filesystem::read_symlink(fd.path(), ignored) == link_text) return true;
    }
    return false;
}

/// A socket at [::] may hold the port for IPv4, too, and /proc does not say (IPV6_V6ONLY). Whoever tries
/// to take it learns it; the trial is over at once.
bool is_taken_for_ipv4(std::uint16_t port) {
    const UniqueFd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    if (!socket) return false;
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_port = htons(port);
    const int bound = ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any);
    return bound != 0 && errno == EADDRINUSE;
}

}  // namespace

std::optional<UdpLine> parse_udp_line(Family family, std::string_view line) {
    // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …
    std::istringstream words{std::string{line}};
    std::array<std::string, 10> fields;
    for (auto& field : fields) {
        if (!(words >> field)) return std::nullopt;
    }
    const std::string_view local = fields[1];
    const auto colon = local.find(':');
    if (colon == std::string_view::npos) return std::nullopt;   // the heading
    const auto address = parse_hex_address(family, local.substr(0, colon));
    const auto port = parse_hex(local.substr(colon + 1));
    if (!address || !port || *port > 0xffff) return std::nullopt;
    return UdpLine{{family, *address, static_cast<std::uint16_t>(*port), {}}, fields[9]};
}

std::set<UdpSocket> snapshot_udp_sockets() {
    std::set<UdpSocket> found;
    std::set<std::uint16_t> ipv4_ports;
    for (auto& line : read_lines(Family::Ipv4)) {
        ipv4_ports.insert(line.socket.port);
        found.insert(std::move(line.socket));
    }
    for (auto& line : read_lines(Family::Ipv6)) {
        const std::uint16_t port = line.socket.port;
        found.insert(std::move(line.socket));
        if (ipv4_ports.contains(port) || !is_taken_for_ipv4(port)) continue;
        ipv4_ports.insert(port);
        found.insert({.family = Family::Ipv4, .local = {}, .port = port, .owner = {}});
    }
    return found;
}

std::string owner_of_udp_port(Family family, std::uint16_t port) {
    for (const UdpLine& line : read_lines(family)) {
        if (line.socket.port != port || line.inode == "0") continue;
        const std::string link_text = "socket:[" + line.inode + "]";
        std::error_code ignored;
        for (const auto& process : std::filesystem::directory_iterator{"/proc", ignored}) {
            const std::string pid = process.path().filename();
            if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
            if (!holds_socket(process.path(), link_text)) continue;
            std::string name;
            std::getline(std::ifstream{process.path() / "comm"}, name);
            return "pid " + pid + " (" + name + ")";
        }
    }
    // A socket at [::] can hold it for both.
    return family == Family::Ipv4 ? owner_of_udp_port(Family::Ipv6, port) : std::string{};
}

}  // namespace overlay::netlink
