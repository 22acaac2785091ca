#include "daemon/datapath/gue_endpoint.hpp"

#include "daemon/datapath/segment.hpp"

#include <algorithm>
#include <string_view>
#include <unordered_set>

namespace overlay::datapath {

using namespace wire;

struct GueEndpoint::Link final : io::Reader {
    Link(GueEndpoint& owner, DevicePort device, const GueLinkConfig& what, unsigned which)
        : endpoint{owner},
          port{std::move(device)},
          number{which},
          config{what},
          header{what.key},
          destination{io::SocketAddress::of({what.remote, what.remote_port})} {}
    void set(const GueLinkConfig& what) {
        config = what;
        header = GretapGueHeader{what.key};
        destination = io::SocketAddress::of({what.remote, what.remote_port});
    }
    void on_readable() override { endpoint.on_device(*this); }

    GueEndpoint& endpoint;
    DevicePort port;
    unsigned number;   ///< the same in all endpoints of the port, another one for a device that was opened anew
    GueLinkConfig config;
    GretapGueHeader header;
    io::SocketAddress destination;
};

GueEndpoint::GueEndpoint(io::UdpSocket socket, const io::UdpOptions& options,
                         const EndpointTools& tools)
    : tools_{tools}, options_{options}, socket_{std::move(socket)} {}

GueEndpoint::~GueEndpoint() = default;

Result<std::unique_ptr<GueEndpoint>> GueEndpoint::open(const GueEndpointConfig& config,
                                                       const EndpointTools& tools) {
    io::UdpOptions options = config.socket;
    options.kernel_buffer_bytes = tools.workspace.memory.gue_socket_bytes;
    auto socket = io::UdpSocket::open(options, tools.offloads);
    if (!socket) return pass_on(socket);
    auto out = of(std::move(*socket), config.socket, tools);
    if (!out) return out;
    if (auto set = (*out)->set_links(config.links, {}); !set) return pass_on(set);
    return out;
}

Result<std::unique_ptr<GueEndpoint>> GueEndpoint::open_beside(GueEndpoint& first, const EndpointTools& tools) {
    auto socket = first.socket_.open_beside();
    if (!socket) return pass_on(socket);
    auto out = of(std::move(*socket), first.options_, tools);
    if (!out) return out;
    if (auto followed = (*out)->follow(first); !followed) return pass_on(followed);
    return out;
}

Result<std::unique_ptr<GueEndpoint>> GueEndpoint::of(io::UdpSocket socket, const io::UdpOptions& options,
                                                     const EndpointTools& tools) {
    std::unique_ptr<GueEndpoint> out{new GueEndpoint{std::move(socket), options, tools}};
    auto watch = tools.loop.watch(out->socket_.fd(), *out);
    if (!watch) return pass_on(watch);
    out->watch_ = std::move(*watch);
    return out;
}

// ---- links --------------------------------------------------------------------------------------

Result<std::unique_ptr<GueEndpoint::Link>> GueEndpoint::link_to(DevicePort port, const GueLinkConfig& config,
                                                                unsigned number) {
    auto link = std::make_unique<Link>(*this, std::move(port), config, number);
    if (!tools_.share.has(number)) return link;
    if (auto watched = link->port.watch(tools_.loop, *link); !watched) return pass_on(watched);
    return link;
}

/// By name and by number, since a hub has thousands of them and is told of one after the other.
Result<void> GueEndpoint::set_links(const std::vector<GueLinkConfig>& links, const std::vector<IfName>& broken) {
    std::unordered_set<std::string> usable;
    for (const auto& link : links_) {
        if (!link->port.fault()) usable.insert(link->port.name().str());
    }
    for (const IfName& name : broken) usable.erase(name.str());
    std::vector<std::unique_ptr<Link>> opened;
    std::unordered_map<std::string_view, const GueLinkConfig*> wanted;
    for (const GueLinkConfig& config : links) {
        wanted.emplace(config.device.str(), &config);
        if (usable.contains(config.device.str())) continue;
        auto port = DevicePort::open(config.device, io::Tap::Kind::Tap, tools_.offloads,
                                     tools_.workspace.memory.super_frames);
        if (!port) return pass_on(port);
        auto link = link_to(std::move(*port), config, next_number_++);
        if (!link) return pass_on(link);
        opened.push_back(std::move(*link));
    }
    std::erase_if(links_, [&](const auto& link) {
        const std::string& name = link->port.name().str();
        const auto config = wanted.find(name);
        if (config == wanted.end() || !usable.contains(name)) return true;
        link->set(*config->second);
        return false;
    });
    std::ranges::move(opened, std::back_inserter(links_));
    index_links();
    return {};
}

Result<void> GueEndpoint::follow(const GueEndpoint& first) {
    std::unordered_set<unsigned> ours;
    for (const auto& link : links_) ours.insert(link->number);
    std::vector<std::unique_ptr<Link>> opened;
    std::unordered_map<unsigned, const Link*> theirs;
    for (const auto& each : first.links_) {
        theirs.emplace(each->number, each.get());
        if (ours.contains(each->number)) continue;
        auto port = each->port.beside(tools_.offloads, tools_.workspace.memory.super_frames);
        if (!port) return pass_on(port);
        auto link = link_to(std::move(*port), each->config, each->number);
        if (!link) return pass_on(link);
        opened.push_back(std::move(*link));
    }
    std::ranges::move(opened, std::back_inserter(links_));
    std::erase_if(links_, [&](const auto& link) {
        const auto found = theirs.find(link->number);
        if (found == theirs.end()) return true;
        link->set(found->second->config);
        return false;
    });
    index_links();
    return {};
}

std::vector<GueLinkConfig> GueEndpoint::links() const {
    std::vector<GueLinkConfig> out;
    for (const auto& link : links_) out.push_back(link->config);
    return out;
}

void GueEndpoint::index_links() {
    last_ = nullptr;
    by_address_.clear();
    for (const auto& link : links_) {
        by_address_.emplace(
            LinkAddress{link->config.local, link->config.remote, link->config.key},
            link.get());
    }
}

std::vector<LinkReport> GueEndpoint::reports() const {
    std::vector<LinkReport> out;
    for (const auto& link : links_) {
        const DevicePort& port = link->port;
        out.push_back({port.name(), port.counters, {port.tso(), port.gro(), socket_.gso(), socket_.gro()}});
    }
    return out;
}

std::vector<IfName> GueEndpoint::broken() const {
    std::vector<IfName> out;
    for (const auto& link : links_) {
        if (link->port.fault()) out.push_back(link->port.name());
    }
    return out;
}

// ---- from the device to the network -------------------------------------------------------------

void GueEndpoint::on_device(Link& link) {
    std::size_t used = 0;
    const std::span arena{tools_.workspace.frames};
    for (std::size_t n = 0; n < turn_frames; ++n) {
        if (arena.size() - used < DevicePort::max_read_bytes) break;
        const auto frame = link.port.read(arena.subspan(used));
        if (!frame) break;
        send_frame(link, *frame);
        used += (sizeof(VnetHeader) + frame->bytes.size() + 63) & ~std::size_t{63};
    }
    flush(link);
}

Destination GueEndpoint::destination_of(const Link& link, Bytes frame) const {
    const std::uint8_t inner = traffic_class(frame, Inner::Ethernet).value_or(0);
    return {.to = &link.destination,
            .traffic_class = outer_traffic_class(link.config.traffic_class, inner),
            .from = link.config.local,
            .ttl = link.config.ttl};
}

void GueEndpoint::send_frame(Link& link, DevicePort::Frame frame) {
    if (frame.header.segmentation() != VnetHeader::gso_none) return send_super_frame(link, frame);
    if ((frame.header.flags & VnetHeader::needs_checksum) != 0) {
        const auto finished = finish_checksum(frame.bytes, frame.header);
        if (!finished) return link.port.counters.count(finished.error());
    }
    const Destination destination = destination_of(link, frame.bytes);
    const Bytes prefix = link.header.bytes();
    Trains& trains = tools_.workspace.trains;
    for (int attempt = 0; attempt < 2; ++attempt) {
        const MutableBytes headers = trains.headers(prefix.size());
        if (!headers.empty()) {
            std::copy(prefix.begin(), prefix.end(), headers.begin());
            if (trains.add(destination, headers, frame.bytes)) break;
        }
        flush(link);
    }
    link.port.counters.count_sent(1, frame.bytes.size());
}

void GueEndpoint::send_super_frame(Link& link, const DevicePort::Frame& frame) {
    const auto plan = plan_segments(frame.bytes, frame.header, Inner::Ethernet);
    if (!plan) return link.port.counters.count(plan.error());
    const Destination destination = destination_of(link, frame.bytes);
    const Bytes prefix = link.header.bytes();
    const std::size_t headers_bytes = prefix.size() + plan->header_bytes();
    Trains& trains = tools_.workspace.trains;
    for (std::size_t index = 0; index < plan->count; ++index) {
        for (int attempt = 0; attempt < 2; ++attempt) {
            const MutableBytes headers = trains.headers(headers_bytes);
            if (!headers.empty()) {
                std::copy(prefix.begin(), prefix.end(), headers.begin());
                write_segment_headers(*plan, index, headers.subspan(prefix.size()));
                if (trains.add(destination, headers, plan->payload(index))) break;
            }
            flush(link);
        }
    }
    link.port.counters.count_sent(plan->count,
                                  frame.bytes.size() + (plan->count - 1) * plan->header_bytes());
}

void GueEndpoint::flush(Link& link) {
    link.port.counters.lost_datagrams += socket_.send(tools_.workspace.trains.trains());
    tools_.workspace.trains.clear();
}

// ---- from the network to the device -------------------------------------------------------------

void GueEndpoint::on_readable() {
    for (const io::Received& received : socket_.receive(tools_.workspace.received)) deliver(received);
    for (const auto& link : links_) link->port.write_out();
}

/// Cuts what came into datagrams, unless it is one that nobody has cut.
void GueEndpoint::deliver(const io::Received& received) {
    const std::size_t whole = received.bytes.size();
    const bool is_super_frame = received.segment_bytes < whole && is_uncut(received.bytes);
    const std::size_t step = is_super_frame ? whole : std::max<std::size_t>(received.segment_bytes, 1);
    const Source from{.local = received.to,
                      .remote = received.from.address(),
                      .traffic_class = received.traffic_class,
                      .segment_bytes = received.segment_bytes,
                      .is_super_frame = is_super_frame};
    std::size_t at = 0;
    do {   // an empty one is counted, too
        deliver_one(from, received.bytes.subspan(at, std::min(step, whole - at)));
        at += step;
    } while (at < whole);
}

/// The very addresses: a link for any of ours may have to stand back behind another one, which link_of() knows.
bool GueEndpoint::is_between_ends(const Link& link, const Source& from) {
    return link.config.remote == from.remote && link.config.local == from.local;
}

GueEndpoint::Link* GueEndpoint::link_of(const Source& from, const std::optional<std::uint32_t>& key) {
    for (const IpAddress& local : {from.local, IpAddress{}}) {
        const auto found = by_address_.find({local, from.remote, key});
        if (found != by_address_.end()) return last_ = found->second;
    }
    return nullptr;
}

/// Most datagrams are of the link that the one before was of.
void GueEndpoint::deliver_one(const Source& from, MutableBytes datagram) {
    if (last_ != nullptr && last_->header.begins(datagram) && is_between_ends(*last_, from))
        return deliver_frame(*last_, from, datagram.subspan(last_->header.bytes().size()));
    const auto inside = decapsulate(datagram);
    if (!inside) return strays_.count(inside.error());
    Link* const link = link_of(from, inside->key);
    if (link == nullptr) return strays_.count(DropReason::NoLink);
    deliver_frame(*link, from, inside->frame);
}

void GueEndpoint::deliver_frame(Link& link, const Source& from, MutableBytes frame) {
    if (const auto inner = traffic_class(frame, Inner::Ethernet)) {
        const auto ecn = decapsulate_ecn(ecn_of(from.traffic_class), ecn_of(*inner));
        if (!ecn) return link.port.counters.count(DropReason::Ecn);
        if (*ecn != ecn_of(*inner)) set_ecn(frame, Inner::Ethernet, *ecn);
    }
    if (from.is_super_frame) link.port.deliver_super_frame(frame, from.segment_bytes);
    else link.port.deliver(frame);
}

}  // namespace overlay::datapath
