#include "daemon/datapath/engine.hpp"

#include "daemon/datapath/segment.hpp"

#include <algorithm>
#include <cerrno>

#include <sys/epoll.h>

namespace overlay::datapath {

namespace {

using namespace wire;

/// Frames are read until so many bytes are there, or so many frames: a turn stays short, and the other
/// direction has its own.
constexpr std::size_t turn_bytes = 640 * 1024;
constexpr std::size_t turn_frames = 64;
constexpr std::size_t max_read_bytes = 65536 + 64;   // a 64 KiB packet, Ethernet, tags, virtio header
constexpr std::size_t max_slices = 4096;
constexpr std::size_t max_header_bytes = 2048 * 160;
constexpr std::size_t max_super_frames = 256;

}  // namespace

struct Engine::Link {
    IfName name;
    io::Tap tap;
    GretapGueHeader header;
    std::optional<std::uint32_t> key;
    IpAddress remote;
    io::SocketAddress destination;
    std::uint8_t traffic_class;
    Coalescer coalescer;
    LinkCounters counters;
    Endpoint* endpoint;

    void count(DropReason reason) { ++counters.drops[static_cast<std::size_t>(reason)]; }
};

struct Engine::Endpoint {
    io::UdpSocket socket;
    std::vector<std::unique_ptr<Link>> links;
    std::array<std::uint64_t, drop_reason_count> drops{};   ///< of no link

    void count(DropReason reason) { ++drops[static_cast<std::size_t>(reason)]; }
};

Engine::Engine() : arena_(turn_bytes), trains_{max_slices, max_header_bytes} {}
Engine::Engine(Engine&&) noexcept = default;
Engine::~Engine() = default;

Result<Engine> Engine::open(const std::vector<GueEndpointConfig>& endpoints,
                            const EngineOptions& options) {
    Engine engine;
    for (const GueEndpointConfig& endpoint : endpoints) {
        if (auto added = engine.add(endpoint, options); !added) return pass_on(added);
    }
    return engine;
}

Result<void> Engine::add(const GueEndpointConfig& config, const EngineOptions& options) {
    auto socket = io::UdpSocket::open(config.socket);
    if (!socket) return pass_on(socket);
    auto endpoint = std::make_unique<Endpoint>(Endpoint{std::move(*socket), {}, {}});
    for (const GretapLinkConfig& link : config.links) {
        auto tap = io::Tap::open(link.device, {.offload = options.device_offload});
        if (!tap) return pass_on(tap);
        endpoint->links.push_back(std::make_unique<Link>(
            Link{link.device, std::move(*tap), GretapGueHeader{link.key}, link.key, link.remote,
                 io::SocketAddress::of({link.remote, link.remote_port}), link.traffic_class,
                 Coalescer{Inner::Ethernet, options.merging, max_super_frames}, {},
                 endpoint.get()}));
    }
    endpoints_.push_back(std::move(endpoint));
    return {};
}

std::vector<std::pair<IfName, LinkCounters>> Engine::counters() const {
    std::vector<std::pair<IfName, LinkCounters>> out;
    for (const auto& endpoint : endpoints_) {
        for (const auto& link : endpoint->links) out.emplace_back(link->name, link->counters);
    }
    return out;
}

// ---- the loop -----------------------------------------------------------------------------------

Result<void> Engine::run(int stop) {
    const io::UniqueFd poll{::epoll_create1(EPOLL_CLOEXEC)};
    if (!poll) return fail(io::system_error("make the event loop", errno));
    struct Source {
        Endpoint* endpoint;
        Link* link;
    };
    std::vector<Source> sources{{nullptr, nullptr}};
    std::vector<int> descriptors{stop};
    for (const auto& endpoint : endpoints_) {
        sources.push_back({endpoint.get(), nullptr});
        descriptors.push_back(endpoint->socket.fd());
        for (const auto& link : endpoint->links) {
            sources.push_back({endpoint.get(), link.get()});
            descriptors.push_back(link->tap.fd());
        }
    }
    for (std::size_t i = 0; i < descriptors.size(); ++i) {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.u64 = i;
        if (::epoll_ctl(poll.get(), EPOLL_CTL_ADD, descriptors[i], &event) != 0)
            return fail(io::system_error("watch a descriptor", errno));
    }
    std::array<epoll_event, 64> events{};
    for (;;) {
        const int count = ::epoll_wait(poll.get(), events.data(), events.size(), -1);
        if (count < 0 && errno != EINTR) return fail(io::system_error("wait for events", errno));
        for (int i = 0; i < count; ++i) {
            const Source& source = sources[events[static_cast<std::size_t>(i)].data.u64];
            if (source.endpoint == nullptr) return {};
            if (source.link == nullptr) from_network(*source.endpoint);
            else if (auto carried = from_device(*source.link); !carried) return carried;
        }
    }
}

// ---- from the device to the network -------------------------------------------------------------

Result<void> Engine::from_device(Link& link) {
    std::size_t used = 0;
    for (std::size_t n = 0; n < turn_frames && arena_.size() - used >= max_read_bytes; ++n) {
        const MutableBytes room = std::span{arena_}.subspan(used);
        const auto size = link.tap.read(room);
        if (!size) return fail(Error{size.error().kind, "read from " + link.name.str(),
                                     size.error().reason, size.error().code, {}});
        if (*size <= sizeof(VnetHeader)) break;
        VnetHeader header;
        std::memcpy(&header, room.data(), sizeof header);
        send_frame(link, room.subspan(sizeof header, *size - sizeof header), header);
        used += (*size + 63) & ~std::size_t{63};
    }
    flush(link);
    return {};
}

void Engine::send_frame(Link& link, MutableBytes frame, const VnetHeader& header) {
    if (header.segmentation() != VnetHeader::gso_none)
        return send_super_frame(link, frame, header);
    if ((header.flags & VnetHeader::needs_checksum) != 0) {
        const auto finished = finish_checksum(frame, header);
        if (!finished) return link.count(finished.error());
    }
    const std::uint8_t inner = traffic_class(frame, Inner::Ethernet).value_or(0);
    const Destination destination{&link.destination,
                                  outer_traffic_class(link.traffic_class, inner)};
    const Bytes prefix = link.header.bytes();
    for (int attempt = 0; attempt < 2; ++attempt) {
        const MutableBytes headers = trains_.headers(prefix.size());
        if (!headers.empty()) {
            std::copy(prefix.begin(), prefix.end(), headers.begin());
            if (trains_.add(destination, headers, frame)) break;
        }
        flush(link);
    }
    ++link.counters.sent_frames;
    link.counters.sent_bytes += frame.size();
}

void Engine::send_super_frame(Link& link, Bytes frame, const VnetHeader& header) {
    const auto plan = plan_segments(frame, header, Inner::Ethernet);
    if (!plan) return link.count(plan.error());
    const std::uint8_t inner = traffic_class(frame, Inner::Ethernet).value_or(0);
    const Destination destination{&link.destination,
                                  outer_traffic_class(link.traffic_class, inner)};
    const Bytes prefix = link.header.bytes();
    const std::size_t headers_bytes = prefix.size() + plan->header_bytes();
    for (std::size_t index = 0; index < plan->count; ++index) {
        for (int attempt = 0; attempt < 2; ++attempt) {
            const MutableBytes headers = trains_.headers(headers_bytes);
            if (!headers.empty()) {
                std::copy(prefix.begin(), prefix.end(), headers.begin());
                write_segment_headers(*plan, index, headers.subspan(prefix.size()));
                if (trains_.add(destination, headers, plan->payload(index))) break;
            }
            flush(link);
        }
    }
    link.counters.sent_frames += plan->count;
    link.counters.sent_bytes += frame.size() + (plan->count - 1) * plan->header_bytes();
}

void Engine::flush(Link& link) {
    link.counters.lost_datagrams += link.endpoint->socket.send(trains_.trains());
    trains_.clear();
}

// ---- from the network to the device -------------------------------------------------------------

void Engine::from_network(Endpoint& endpoint) {
    for (const io::Received& received : endpoint.socket.receive()) deliver(endpoint, received);
    for (const auto& link : endpoint.links) write_out(*link);
}

/// Cuts what came into datagrams, unless it is one that nobody has cut.
void Engine::deliver(Endpoint& endpoint, const io::Received& received) {
    const std::size_t whole = received.bytes.size();
    const bool is_one = received.segment_bytes < whole && is_uncut(received.bytes);
    const std::size_t step = is_one ? whole : std::max<std::size_t>(received.segment_bytes, 1);
    for (std::size_t at = 0; at < whole; at += step)
        deliver_one(endpoint, received, received.bytes.subspan(at, std::min(step, whole - at)));
}

void Engine::deliver_one(Endpoint& endpoint, const io::Received& received, MutableBytes datagram) {
    const auto inside = decapsulate(datagram);
    if (!inside) return endpoint.count(inside.error());
    Link* link = link_of(endpoint, received.from, inside->key);
    if (link == nullptr) return endpoint.count(DropReason::NoLink);
    if (const auto inner = traffic_class(inside->frame, Inner::Ethernet)) {
        const auto ecn = decapsulate_ecn(ecn_of(received.traffic_class), ecn_of(*inner));
        if (!ecn) return link->count(DropReason::Ecn);
        if (*ecn != ecn_of(*inner)) set_ecn(inside->frame, Inner::Ethernet, *ecn);
    }
    if (link->coalescer.is_full()) write_out(*link);
    const bool is_one = datagram.size() > received.segment_bytes;
    if (is_one) link->coalescer.add_super_frame(inside->frame, received.segment_bytes);
    else link->coalescer.add(inside->frame);
    ++link->counters.received_frames;
    link->counters.received_bytes += inside->frame.size();
}

Engine::Link* Engine::link_of(Endpoint& endpoint, const io::SocketAddress& from,
                              const std::optional<std::uint32_t>& key) {
    const IpAddress remote = from.address();
    for (const auto& link : endpoint.links) {
        if (link->key == key && link->remote == remote) return link.get();
    }
    return nullptr;
}

void Engine::write_out(Link& link) {
    for (const SuperFrame& frame : link.coalescer.finish()) {
        if (link.tap.write(frame.slices()) != 0) link.count(DropReason::DeviceFull);
    }
    link.coalescer.clear();
}

}  // namespace overlay::datapath
