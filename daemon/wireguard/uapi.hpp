#pragma once
// The cross-platform userspace interface: how `wg` and its kin read and change a device that is no
// kernel's.
//
//   "set=1" lines ──parse──▶ UapiSet ──▶ the socket's owner, then the device ──▶ "errno=N"
//   "get=1" ───────────────────────────▶ keys, settings, peers, counters ──────▶ … "errno=0"
//
// A request and an answer each end with an empty line. All of a request is checked before any of it
// is done; wireguard-go does it line by line, and stops in the middle.
//
// Refuses to know: where requests come from (io/uapi_socket.hpp), who may send them, sockets.
//
//   uapi_parse.cpp   from text to UapiSet
//   uapi.cpp         what is done with it, and the answers
//
// Sources: https://www.wireguard.com/xplatform/; what wg 1.0.20210914 and wireguard-go 0.0.20220316
// say to each other; for what happens to a peer, Linux drivers/net/wireguard/netlink.c.

#include "daemon/wireguard/device.hpp"

#include <tl/expected.hpp>

namespace overlay::wireguard {

/// What belongs to whoever owns the device's UDP socket.
struct SocketSettings {
    std::uint16_t listen_port = 0;
    std::uint32_t fwmark = 0;  ///< 0: none
    friend bool operator==(const SocketSettings&, const SocketSettings&) = default;
};

/// Virtual because there are several at run time: the data path, and drivers of tests.
class UapiHost {
  public:
    UapiHost() = default;
    UapiHost(const UapiHost&) = delete;
    UapiHost& operator=(const UapiHost&) = delete;
    virtual ~UapiHost() = default;

    [[nodiscard]] virtual SocketSettings socket_settings() const = 0;
    /// Both or neither. Port 0: any that is free. 0, or the errno when nothing was changed.
    [[nodiscard]] virtual int change_socket(const SocketSettings& wanted) = 0;
    /// 0: there is no such interface.
    [[nodiscard]] virtual std::uint32_t interface_index(const std::string& name) const = 0;
};

struct UapiSet {
    std::optional<Secret32> private_key{};  ///< all zero: none
    std::optional<std::uint16_t> listen_port{};
    std::optional<std::uint32_t> fwmark{};
    enum class Peers : std::uint8_t { Change, Replace } peers_mode = Peers::Change;
    std::vector<PeerChange> peers{};  ///< in order; of one peer there may be several
};

/// A value, or an errno, positive.
template <class T>
using UapiResult = tl::expected<T, int>;

/// `lines`: what stands between "set=1" and the empty line. Errors: EPROTO for a line without "=",
/// EINVAL for a key or a value that is not one.
[[nodiscard]] UapiResult<UapiSet> parse_uapi_set(std::string_view lines, const UapiHost& host);

/// The whole answer to a request that failed, or, with 0, that changed something.
[[nodiscard]] SecretText uapi_errno(int error);

/// Memory of one device that whoever may configure it can claim. As wireguard-go's.
inline constexpr std::size_t max_uapi_peers = 65536;

class Uapi {
  public:
    Uapi(Device& device, UapiHost& host, std::size_t max_peers = max_uapi_peers)
        : device_{device}, host_{host}, max_peers_{max_peers} {}

    /// `request`: up to and with its empty line. An empty answer: this is no request; hang up.
    [[nodiscard]] SecretText answer(std::string_view request, Moment now, Outbox& out);

  private:
    [[nodiscard]] int set(const UapiSet& wanted, Moment now, Outbox& out);
    [[nodiscard]] bool is_too_many(const UapiSet& wanted) const;
    [[nodiscard]] int change_socket(const UapiSet& wanted);
    [[nodiscard]] SecretText get() const;
    void write_peer(PeerId id, SecretText& out) const;

    Device& device_;
    UapiHost& host_;
    std::size_t max_peers_;
};

}  // namespace overlay::wireguard
