"""The guards: what keeps out what must not come in, and how the source looks without each (guards.py)."""

import dataclasses


@dataclasses.dataclass
class Guard:
    name: str
    file: str
    text: str
    without: str = ""
    notices_story: bool = False   # strangers_test.py, since it is about sockets and devices


core, path, wire = "daemon/wireguard/", "daemon/datapath/", "daemon/wire/"
receive, send, cookie, keys = (core + name + ".cpp" for name in ("device_receive", "device_send", "cookie", "keypair"))
noise, limiter, window = core + "noise.cpp", core + "rate_limiter.cpp", core + "replay_window.cpp"
gue, gre, ip = wire + "gue.cpp", wire + "gre.cpp", wire + "ip.cpp"

guards = [
    # ---- WireGuard: handshakes ----
    Guard("a device that is down takes nothing", receive,
          "if (!running_) return dropped_for(DropReason::Stopped);\n"),
    Guard("mac1", receive, "if (!mac_checker_.mac1_is_right(arrival.datagram)) return DropReason::Mac1;\n"),
    Guard("load is noticed", receive, "if (!load_.count(now)) return std::nullopt;",
          "if (!load_.count(now) || true) return std::nullopt;"),
    Guard("mac2", receive, "if (mac_checker_.mac2_is_right(arrival.datagram, from, now)) {",
          "if (mac_checker_.mac2_is_right(arrival.datagram, from, now) || true) {"),
    Guard("the address in a cookie", cookie,
          "keyed_mac(secret_.bytes(), {Bytes{address, from.address.size_bytes()}, port})",
          "keyed_mac(secret_.bytes(), {Bytes{address, 0}, port})"),
    Guard("the port in a cookie", cookie, "wire::store16(port, 0, from.port);", "(void)from.port;"),
    Guard("no mac2 before a cookie was handed out, or after its secret's end", cookie,
          "if (now >= secret_ends_) return false;", "if (now > Clock::time_point::max()) return false;"),
    Guard("a mac2 of zeros is none", cookie,
          "if (std::ranges::all_of(told, [](std::byte b) { return b == std::byte{0}; })) return false;",
          "if (std::ranges::all_of(told, [](std::byte b) { return b == std::byte{0}; })) return true;"),
    Guard("a cookie's secret is renewed", cookie, "if (reply.now >= secret_ends_) {",
          "if (secret_ends_ == Clock::time_point::min()) {"),
    Guard("handshakes of one source are limited", limiter,
          "if (full_at - now > interval * (burst - 1)) return false;\n"),
    Guard("sources that find no place are limited", limiter, "if (entry == nullptr) return false;",
          "if (entry == nullptr) return true;"),
    Guard("a cookie reply's AEAD", cookie, """    if (!xopen(reply_key_, cookie_reply::nonce.in(reply), *last_mac1_,
               cookie_reply::sealed_cookie.in(reply), cookie)) {
        return false;
    }
""", """    (void)xopen(reply_key_, cookie_reply::nonce.in(reply), *last_mac1_,
                cookie_reply::sealed_cookie.in(reply), cookie);
"""),
    Guard("a cookie reply to nothing", cookie, "if (!last_mac1_) return false;",
          "if (!last_mac1_) last_mac1_.emplace();"),
    Guard("one cookie reply for a message", cookie, "    last_mac1_.reset();  // one reply per message\n"),
    Guard("a cookie is used for 115 s", cookie, "now < cookie_ends_ ? mac2_of",
          "cookie_ends_ != Clock::time_point::min() ? mac2_of"),
    Guard("an ephemeral of low order", core + "crypto.cpp",
          "if (!derived || equal_in_constant_time(shared.bytes(), Secret32{}.bytes())) return std::nullopt;",
          "if (!derived) shared = Secret32{};"),
    Guard("a peer's static key of low order, when it calls", noise,
          "    if (!peer.static_static()) return std::nullopt;\n"
          "    const Secret32 key = transcript_.mix_key(*peer.static_static());",
          "    const Secret32 key = transcript_.mix_key(peer.static_static().value_or(Secret32{}));"),
    Guard("a peer's static key of low order, when it is called", send, "if (!peer.remote.static_static()) {",
          "if (false) {"),
    Guard("the sealed static key of an initiation", noise, """\
    if (!out.transcript_.open(key, initiation::sealed_static.in(message), initiator))
        return std::nullopt;
""", "    (void)out.transcript_.open(key, initiation::sealed_static.in(message), initiator);\n"),
    Guard("a static key that is no peer's", receive,
          "if (found == by_key_.end()) return dropped_for(DropReason::UnknownPeer);",
          "if (found == by_key_.end()) return Received{.kind = Received::Kind::Handled};"),
    Guard("the sealed timestamp of an initiation", noise,
          "if (!transcript_.open(key, sealed_timestamp_, timestamp)) return std::nullopt;",
          "(void)transcript_.open(key, sealed_timestamp_, timestamp);"),
    Guard("timestamps grow", receive,
          "    if (*stamp <= peer.last_received_stamp) return dropped_for(DropReason::OldTimestamp);\n"),
    Guard("a timestamp twice", receive, "if (*stamp <= peer.last_received_stamp)",
          "if (*stamp < peer.last_received_stamp)"),
    Guard("20 ms between a peer's initiations", receive, """    if (last && now < *last + initiation_interval)
        return dropped_for(DropReason::TooManyInitiations);
""", "    (void)last;\n    (void)initiation_interval;\n"),
    Guard("stamps above those of a former run", core + "device.cpp", "stamps_{options.reserved_stamps} {}",
          "stamps_{} {}"),
    Guard("a replayed initiation moves nobody", receive, "if (!peer.path) return authentic(peer, from, turn);",
          "return authentic(peer, from, turn);"),
    Guard("a response to no handshake of ours", receive,
          "    if (!owner) return dropped_for(DropReason::UnknownIndex);\n"
          "    Peer& peer = *rooms_[*owner].peer;\n    if (!peer.outstanding ",
          "    Peer& peer = *rooms_[owner.value_or(0)].peer;\n    if (!peer.outstanding "),
    Guard("a response's index is that of the handshake", receive,
          "if (!peer.outstanding || peer.outstanding->index.value() != receiver) {", "if (!peer.outstanding) {"),
    Guard("the sealed nothing of a response", noise,
          "if (!transcript.open(key, response::sealed_empty.in(message), {})) return std::nullopt;",
          "(void)transcript.open(key, response::sealed_empty.in(message), {});"),
    Guard("the preshared key", noise, "derive(Secret32{transcript.chaining_key}, preshared_key.bytes(),",
          "(void)preshared_key;\n    derive(Secret32{transcript.chaining_key}, Secret32{}.bytes(),"),
    Guard("a handshake is answered once", receive, "    peer.outstanding.reset();\n    session_begun",
          "    session_begun"),

    # ---- data ----
    Guard("data for no session", receive,
          "if (key == nullptr) return dropped_for(DropReason::UnknownIndex);  // of a handshake",
          "if (key == nullptr) key = peer.keys.current();"),
    Guard("the tag", keys, "if (!opener_.open(counter, {}, sealed)) return drop(DropReason::Data);",
          "(void)opener_.open(counter, {}, sealed);"),
    Guard("the tag, compared", core + "crypto.cpp",
          "    if (!text.empty()) feed(text, text);\n    return tag_is(tag);",
          "    if (!text.empty()) feed(text, text);\n    (void)tag_is(tag);\n    return true;"),
    Guard("a counter once", window, "    if ((bits & bit) != 0) return false;\n"),
    Guard("a counter too old to know", window,
          "    if (counter + size < ahead_) return false;  // cannot wrap: the limit leaves 2^13 above it\n"),
    Guard("the window's edge", window, "if (counter + size < ahead_) return",
          "if (counter + size + 1 < ahead_) return"),
    Guard("what falls out of the window is forgotten", window, "seen_[(last_word + i) % words] = 0;", "(void)i;"),
    Guard("the window's last counter", window, "    if (counter >= reject_after_messages) return false;\n"),
    Guard("the replay window is asked", keys, "if (!received_.accept(counter)) return drop(DropReason::Replay);",
          "(void)received_.accept(counter);"),
    Guard("only what is authentic moves the window", keys, """\
    if (!opener_.open(counter, {}, sealed)) return drop(DropReason::Data);
    if (!received_.accept(counter)) return drop(DropReason::Replay);
""", """    if (!received_.accept(counter)) return drop(DropReason::Replay);
    if (!opener_.open(counter, {}, sealed)) return drop(DropReason::Data);
"""),
    Guard("REJECT_AFTER_TIME on receive", keys,
          "    if (is_older_than(reject_after_time, now)) return drop(DropReason::KeyExpired);\n",
          "    (void)now;\n"),
    Guard("REJECT_AFTER_MESSAGES on receive", keys,
          "    if (counter >= reject_after_messages) return drop(DropReason::KeyExpired);\n"),
    Guard("REJECT_AFTER_MESSAGES on send", keys,
          "if (!may_send(now) || reject_after_messages - sent_ < count) return std::nullopt;",
          "if (!may_send(now)) return std::nullopt;"),
    Guard("REKEY_AFTER_MESSAGES", send, "if (is_old || key.sent() > rekey_after_messages) begin",
          "if (is_old) begin"),
    Guard("REKEY_AFTER_TIME", send, "if (is_old || key.sent() > rekey_after_messages) begin",
          "if (key.sent() > rekey_after_messages + (is_old ? 0 : 1)) begin"),
    Guard("former keys send no more", core + "device.cpp", "        room.peer->keys.stop_sending();\n"),
    Guard("no sending before the session is confirmed", keys, "        next_ = std::move(fresh);\n        return;",
          "        previous_ = std::move(current_);\n        current_ = std::move(fresh);\n        return;"),
    Guard("the peer's session outlives its next call", keys, "        next_ = std::move(fresh);\n        return;",
          "        next_ = std::move(fresh);\n        previous_.reset();\n        return;"),
    Guard("an endpoint moves only with what is authentic", receive,
          "    const Parsed<MutableBytes> packet = key->open(arrival.datagram, now);\n",
          "    const Parsed<MutableBytes> packet = key->open(arrival.datagram, now);\n    peer.path = arrival.from;\n"),
    Guard("keys are erased", core + "device.cpp", "            erase_keys(peer);\n            return;",
          "            return;"),

    # ---- inner addresses ----
    Guard("allowed IPs on receive", receive,
          "    if (owner != peer.id.slot) return dropped_for(DropReason::SourceNotAllowed);\n"),
    Guard("allowed IPs on receive: somebody's is not enough", receive, "if (owner != peer.id.slot) return dropped",
          "if (owner == AllowedIps::nobody) return dropped"),
    Guard("a whole inner IPv4 header", receive, "version == 4 && packet.size() >= Source::ipv4_header",
          "version == 4 && packet.size() + 0 * Source::ipv4_header > 0"),
    Guard("a whole inner IPv6 header", receive, "version == 6 && packet.size() >= Source::ipv6_header",
          "version == 6 && packet.size() + 0 * Source::ipv6_header > 0"),
    Guard("allowed IPs on send", send, "if (owner == AllowedIps::nobody) return drop(DropReason::NoPeer);",
          "if (owner == AllowedIps::nobody) owner = 0;"),
    Guard("a prefix has one owner", core + "device.cpp", "    allowed_ips_.remove_owner(slot);\n"),
    Guard("a removed peer's name is never another's", core + "device.cpp", "    ++rooms_[slot].generation;\n"),
    Guard("room for what waits", send, "if (staged_bytes_ + packet.size() > options_.max_staged_bytes) {",
          "if (false) {"),

    # ---- GUE, GRE, IP ----
    Guard("GUE's version", gue, "    if (first >> 6 != 0) return drop(DropReason::GueVersion);\n"),
    Guard("GUE's control bit", gue, "    if ((first & 0x20U) != 0) return drop(DropReason::GueControl);\n"),
    Guard("GUE's length", gue, "    if (datagram.size() < header.size_bytes) return drop(DropReason::TooShort);\n"),
    Guard("GUE's flags", gue, "    if ((flags & ~flag_private) != 0) return drop(DropReason::GueFlags);\n"),
    Guard("GUE's private flags", gue,
          "        if ((private_flags & ~private_flag_remote_checksum) != 0) return drop(DropReason::GueFlags);\n"),
    Guard("room for GUE's private flags", gue,
          "        if (options_bytes < private_flags_bytes) return drop(DropReason::GueFlags);\n"),
    Guard("room for GUE's remote checksum", gue, """\
            if (options_bytes < private_flags_bytes + remote_checksum_bytes)
                return drop(DropReason::GueFlags);
"""),
    Guard("a remote checksum inside of the packet", gue,
          "    if (!inside) return drop(DropReason::RemoteChecksum);\n",
          "    if (!inside) return {};\n"),
    Guard("GUE's protocol", path + "gretap_gue.cpp",
          "    if (gue->protocol != GueHeader::protocol_gre) return drop(DropReason::GueProtocol);\n"),
    Guard("a whole frame in GUE", path + "gretap_gue.cpp",
          "    if (frame.size() < ethernet_size_bytes) return drop(DropReason::InnerTooShort);\n"),
    Guard("GRE's version", gre, "    if ((flags & version_mask) != 0) return drop(DropReason::GreVersion);\n",
          "    (void)version_mask;\n"),
    Guard("GRE's routing", gre, "    if ((flags & flag_routing) != 0) return drop(DropReason::GreRouting);\n",
          "    (void)flag_routing;\n"),
    Guard("GRE's checksum", gre, "    if ((flags & flag_checksum) != 0) return drop(DropReason::GreChecksum);\n"),
    Guard("GRE's protocol", gre,
          "    if (load16(packet, 2) != GreHeader::protocol_ethernet) return drop(DropReason::GreProtocol);\n"),
    Guard("GRE's least length", gre, "if (packet.size() < least_packet_bytes) return",
          "if (packet.size() < 4 + 0 * least_packet_bytes) return"),
    Guard("GRE's length with its options", gre,
          "    if (packet.size() < header.size_bytes) return drop(DropReason::TooShort);\n"),
    Guard("a whole frame in GRE", path + "gretap_ip.cpp",
          "    if (frame.size() < ethernet_size_bytes) return drop(DropReason::InnerTooShort);\n"),
    Guard("IPv4's lengths", ip, "                      header.end_at <= packet.size();\n    if (!fits)",
          "                      true;\n    if (!fits)"),
    Guard("IPv6's length", ip, "    if (header.end_at > packet.size()) return drop(DropReason::InnerTooShort);\n"),

    # ---- reassembly ----
    Guard("a piece that ends beyond what IP can say", path + "reassembly.cpp",
          "size_bytes > 0 && end_at <= 65535 - ipv4_size_bytes &&", "size_bytes > 0 &&"),
    Guard("a piece of nothing", path + "reassembly.cpp", "size_bytes > 0 && end_at", "end_at"),
    Guard("a piece of no whole units", path + "reassembly.cpp",
          "(!header.has_more_fragments || size_bytes % unit_bytes == 0);", "true;"),
    Guard("pieces that overlap", path + "reassembly.cpp", "    if (known != 0) return Fit::Bad;\n"),
    Guard("two ends", path + "reassembly.cpp", "    if (ends_otherwise) return Fit::Bad;\n",
          "    (void)ends_otherwise;\n"),
    Guard("a piece behind the end", path + "reassembly.cpp",
          "return is_last && place.reaches > end_at ? Fit::Bad : Fit::New;", "return Fit::New;"),
    Guard("pieces of one packet have its addresses", path + "reassembly.cpp",
          "        if (place.identification == identification &&\n"
          "            std::ranges::equal(place.addresses, addresses))",
          "        if (place.identification == identification)"),
    Guard("pieces of one packet have its number", path + "reassembly.cpp",
          "        if (place.identification == identification &&\n            std::ranges::equal(",
          "        if (std::ranges::equal("),
    Guard("old pieces are forgotten", path + "reassembly.cpp", "now >= place.since + max_age",
          "now >= place.since + 1000 * max_age"),

    # ---- endpoints ----
    Guard("an IPv4 header's own checksum, before it is merged", path + "coalesce.cpp",
          "if (!h.is_ipv6 && fold(sum_of(frame.subspan(h.network_at, ipv4_size_bytes))) != 0xffff) return false;"),
    Guard("a UDP header's own length, before it is merged", path + "coalesce.cpp",
          "return h.protocol != protocol_udp || load16(frame, h.transport_at + udp_length_at) == h.end_at - h.transport_at;",
          "return true;"),
    Guard("the key of the GUE link that was the last", path + "gue_endpoint.cpp",
          "last_->header.begins(datagram) && ", "", True),
    Guard("the addresses of the GUE link that was the last", path + "gue_endpoint.cpp",
          " && is_between_ends(*last_, from))", ")", True),
    Guard("the key of any GUE link", path + "gue_endpoint.cpp", "by_address_.find({local, from.remote, key});",
          "std::ranges::find_if(by_address_, [&](const auto& e) { return e.second->config.remote == from.remote; });",
          True),
    Guard("the remote address of any GUE link", path + "gue_endpoint.cpp",
          "by_address_.find({local, from.remote, key});",
          "std::ranges::find_if(by_address_, [&](const auto& e) { return e.second->config.key == key; });", True),
    Guard("GRE in WireGuard between a link's ends", path + "wireguard_receive.cpp",
          "    if (!is_between_ends(addresses)) return false;\n", "", True),
    Guard("the checksum of the IP header that carries GRE", path + "wireguard_receive.cpp",
          "    if (!is_header_intact(packet, header)) {", "    if (false) {", True),
    Guard("the key of the link in WireGuard that was the last", path + "wireguard_receive.cpp",
          " && last_->config.address.key == key)", ")", True),
    Guard("the addresses of the link in WireGuard that was the last", path + "wireguard_receive.cpp",
          "if (last_ != nullptr && last_->has_addresses(addresses) && last_->config",
          "if (last_ != nullptr && last_->config", True),
    Guard("the key of any link in WireGuard", path + "wireguard_receive.cpp", "by_address_.find(address);",
          "std::ranges::find_if(by_address_, [&](const auto& e) { return e.first.remote == address.remote; });", True),

    # ---- in headers, which cost a compilation of almost everything ----
    Guard("reserved bytes and lengths of a message", core + "messages.hpp",
          "if (size == initiation::size_bytes) return", "if (size >= initiation::size_bytes) return"),
    Guard("the least length of a data message", core + "messages.hpp",
          "if (size >= data::overhead_bytes) return", "if (size >= data::header_bytes) return"),
    Guard("REJECT_AFTER_TIME on send", core + "keypair.hpp",
          "may_send_ && !is_older_than(reject_after_time, now) &&",
          "may_send_ && now != Clock::time_point::min() &&"),
    Guard("the last counter is not sent twice", core + "keypair.hpp", " && sent_ < reject_after_messages;", ";"),
]
