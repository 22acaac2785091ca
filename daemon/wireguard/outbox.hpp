#pragma once
// What the core wants done beside the packet in hand: datagrams to send, a number to write to disk
// first, and news for a log or a status. The caller owns it, empties it after every call, and gives
// it again: its memory is used over and over.

#include "daemon/wireguard/path.hpp"
#include "daemon/wireguard/tai64n.hpp"

#include <vector>

namespace overlay::wireguard {

/// Names a peer of one device, and never another one after that one was removed.
struct PeerId {
    std::uint32_t slot = 0;
    std::uint32_t generation = 0;
    friend bool operator==(const PeerId&, const PeerId&) = default;
};

struct Event {
    enum class Kind : std::uint8_t {
        SessionBegun,      ///< a handshake is complete, the first or a later one
        HandshakeRetried,  ///< no answer within 5 s: time to resolve the peer's name again
        HandshakeGivenUp,  ///< no answer within 90 s; what waited for it is dropped
        Moved,             ///< an authentic datagram came from another address
        KeysErased,
    };
    Kind kind;
    PeerId peer;
    friend bool operator==(const Event&, const Event&) = default;
};

class Outbox {
  public:
    struct Datagram {
        Path to;
        std::size_t at = 0;
        std::size_t size_bytes = 0;
    };

    /// Room for a datagram; valid until the next call.
    [[nodiscard]] MutableBytes add(const Path& to, std::size_t size_bytes);
    /// Takes the last one back.
    void take_back();
    void tell(Event event) { events_.push_back(event); }
    void persist(const Tai64n& bound) { reservation_ = bound; }

    /// When set, no datagram may leave before this is on disk (tai64n.hpp).
    [[nodiscard]] const std::optional<Tai64n>& reservation() const { return reservation_; }
    [[nodiscard]] std::span<const Datagram> datagrams() const { return datagrams_; }
    [[nodiscard]] Bytes bytes_of(const Datagram& datagram) const {
        return Bytes{bytes_}.subspan(datagram.at, datagram.size_bytes);
    }
    [[nodiscard]] std::span<const Event> events() const { return events_; }
    [[nodiscard]] std::size_t total_bytes() const { return bytes_.size(); }
    void clear();

  private:
    std::vector<std::byte> bytes_;
    std::vector<Datagram> datagrams_;
    std::vector<Event> events_;
    std::optional<Tai64n> reservation_;
};

}  // namespace overlay::wireguard
