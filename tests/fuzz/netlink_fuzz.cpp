// What a kernel answers to our questions. The input is a byte for what is asked, then a row of answers: a byte for
// their kind, two for their length. The linker puts a kernel that says this in the place of the real one
// (tests/CMakeLists.txt, --wrap), so that everything from the socket to the values is ours.
//
// Whatever it says: nothing is read past the end of a message; what is understood can be printed as a snapshot, and
// is read back from there as the same state; a refusal has words. A bug aborts.

#include "fuzz.hpp"
#include "netlink/activity.hpp"
#include "netlink/addresses.hpp"
#include "netlink/ethtool.hpp"
#include "netlink/families.hpp"
#include "netlink/fou.hpp"
#include "netlink/routes.hpp"
#include "netlink/wireguard.hpp"
#include "netlink_answers.hpp"
#include "topology/state_json.hpp"

#include <linux/genetlink.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

using namespace overlay;
using namespace overlay::netlink;
using fuzz::demand;

// ---- a kernel that says what it is told to -----------------------------------------------------------

namespace {

constexpr std::uint32_t our_port = 77;
constexpr std::uint16_t some_family = 0x1c;

struct Answer {
    std::vector<std::byte> bytes;
    bool is_addressed = true;   ///< to us, and to the question; else as it stands
};

struct FakeKernel {
    std::vector<Answer> answers;
    std::size_t next = 0;
    std::uint32_t sequence = 0;
};
FakeKernel kernel;

template <class Header>
void store(std::vector<std::byte>& bytes, std::size_t at, const Header& header) {
    std::memcpy(bytes.data() + at, &header, sizeof header);
}

Answer message(std::uint16_t type, std::uint16_t flags, wire::Bytes payload) {
    nlmsghdr header{};
    Answer out{std::vector<std::byte>(sizeof header + payload.size()), true};   // not a byte more than that
    header.nlmsg_len = static_cast<std::uint32_t>(sizeof header + payload.size());
    header.nlmsg_type = type;
    header.nlmsg_flags = flags;
    store(out.bytes, 0, header);
    std::ranges::copy(payload, out.bytes.begin() + sizeof header);
    return out;
}

}  // namespace

// What the linker calls in the place of the C library's.
extern "C" {

int __wrap_socket(int, int, int) { return ::open("/dev/null", O_RDWR | O_CLOEXEC); }
int __wrap_setsockopt(int, int, int, const void*, socklen_t) { return 0; }
int __wrap_bind(int, const sockaddr*, socklen_t) { return 0; }

int __wrap_getsockname(int, sockaddr* address, socklen_t*) {
    static_cast<sockaddr_nl*>(static_cast<void*>(address))->nl_pid = our_port;
    return 0;
}

ssize_t __wrap_sendto(int, const void* bytes, std::size_t size, int, const sockaddr*, socklen_t) {
    nlmsghdr header{};
    std::memcpy(&header, bytes, sizeof header);
    kernel.sequence = header.nlmsg_seq;
    kernel.next = 0;
    return static_cast<ssize_t>(size);
}

int __wrap_poll(pollfd*, nfds_t, int) {
    if (kernel.next < kernel.answers.size()) return 1;
    errno = EBADF;   // nothing more will come
    return -1;
}

ssize_t __wrap_recvmsg(int, msghdr* into, int) {
    Answer& answer = kernel.answers.at(kernel.next++);
    if (answer.is_addressed) {
        nlmsghdr header{};
        std::memcpy(&header, answer.bytes.data(), sizeof header);
        header.nlmsg_seq = kernel.sequence;
        header.nlmsg_pid = our_port;
        store(answer.bytes, 0, header);
    }
    const std::size_t size = std::min(answer.bytes.size(), into->msg_iov->iov_len);
    if (size > 0) std::memcpy(into->msg_iov->iov_base, answer.bytes.data(), size);
    return static_cast<ssize_t>(size);
}
}

namespace {

// ---- questions ---------------------------------------------------------------------------------------

const LinkNames names{{1, IfName::from_kernel("eth0")}, {2, IfName::from_kernel("wg0")}};
const FeatureNames features{"tx-checksum-ipv4", "rx-checksum", "tx-tcp-segmentation", "tx-generic-segmentation",
                            "rx-gro",           "rx-lro",      "tx-udp-segmentation", "tx-checksum-ip-generic"};

struct Question {
    std::uint16_t type;   ///< of the answers
    void (*answer)(fuzz::AnswerWriter& to);
    void (*ask)(Socket& socket, KernelState& state);
};

template <class T, class Use>
void take(const Result<T>& result, Use use) {
    if (result) return use(*result);
    demand(!result.error().doing.empty() && !result.error().reason.empty(), "refused without words");
}

constexpr std::array<Question, 10> questions{{
    {RTM_NEWLINK, fuzz::write_link, [](Socket& socket, KernelState& state) {
         take(snapshot_links(socket), [&](const FoundLinks& found) {
             state.links = found.links;
             state.alternative_names = found.alternative_names;
         });
     }},
    {RTM_NEWADDR, fuzz::write_address, [](Socket& socket, KernelState& state) {
         take(snapshot_addresses(socket, names), [&](const auto& found) { state.addresses = found; });
     }},
    {RTM_NEWROUTE, fuzz::write_route, [](Socket& socket, KernelState& state) {
         take(snapshot_routes(socket, names), [&](const auto& found) { state.routes = found; });
     }},
    {some_family, fuzz::write_fou, [](Socket& socket, KernelState& state) {
         take(snapshot_fou(socket, some_family, names), [&](const auto& found) { state.fou_ports = found; });
     }},
    {some_family, fuzz::write_wireguard, [](Socket& socket, KernelState& state) {
         Secrets secrets;
         const IfName device = IfName::from_kernel("wg0");
         take(read_wireguard(socket, some_family, device, secrets),
              [&](const WireguardDevice& found) { state.wireguard[device] = found; });
         take(read_peer_activity(socket, some_family, device), [](const auto&) {});
     }},
    {some_family, fuzz::write_features, [](Socket& socket, KernelState& state) {
         take(snapshot_offloads(socket, some_family, features), [&](const auto& found) { state.offloads = found; });
     }},
    {some_family, fuzz::write_feature_names, [](Socket& socket, KernelState&) {
         take(read_feature_names(socket, some_family),
              [](const FeatureNames& found) { demand(found.size() <= 1024, "more features than there may be"); });
     }},
    {GENL_ID_CTRL, fuzz::write_family, [](Socket& socket, KernelState&) {
         Families families;
         (void)families.read(socket);
         (void)families.find("wireguard");
     }},
    {RTM_NEWLINK, fuzz::write_link, [](Socket& socket, KernelState&) {
         take(read_link_activity(socket), [](const auto&) {});
     }},
    {RTM_NEWLINK, fuzz::write_link, [](Socket& socket, KernelState& state) {
         const IfName name = IfName::from_kernel("eth0");
         take(find_link(socket, name, "find it"),
              [&](const FoundLink& found) { state.links[found.link.name] = found.link; });
         Message request{RTM_NEWLINK, 0};
         if (const auto changed = socket.change(request, "change it"); !changed)
             demand(text(changed.error()).starts_with("change it: "), "refused without words");
     }},
}};

/// As an error says it: in memory of its own, so that a byte too far is seen.
void refuse(wire::Bytes payload, std::uint16_t flags) {
    const Answer answer = message(NLMSG_ERROR, flags, payload);
    const auto error = error_in(*static_cast<const nlmsghdr*>(static_cast<const void*>(answer.bytes.data())), "try");
    demand(!error || text(*error).starts_with("try: "), "refused without words");
}

void add_answer(std::uint8_t kind, std::uint16_t type, wire::Bytes payload) {
    std::uint16_t flags = NLM_F_MULTI;
    if ((kind & 0x10) != 0) flags |= NLM_F_DUMP_INTR;
    if ((kind & 0x20) != 0) flags |= NLM_F_ACK_TLVS;
    if ((kind & 0x40) != 0) flags |= NLM_F_CAPPED;
    switch (kind % 16) {
        case 13: refuse(payload, flags); [[fallthrough]];
        case 14: return kernel.answers.push_back(message(kind % 2 == 0 ? NLMSG_DONE : NLMSG_ERROR, flags, payload));
        case 15: return kernel.answers.push_back({{payload.begin(), payload.end()}, false});
        default: return kernel.answers.push_back(message(type, flags, payload));
    }
}

}  // namespace

void fuzz::run(wire::Bytes input) {
    if (input.empty()) return;
    const Question& question = questions.at(wire::load8(input, 0) % questions.size());
    input = input.subspan(1);
    kernel = FakeKernel{};
    while (input.size() >= 3) {
        const std::size_t length = std::min<std::size_t>(wire::load16(input, 1), input.size() - 3);
        add_answer(wire::load8(input, 0), question.type, input.subspan(3, length));
        input = input.subspan(3 + length);
    }
    constexpr std::array<std::byte, 4> all_well{};
    kernel.answers.push_back(message(NLMSG_DONE, NLM_F_MULTI, all_well));

    auto socket = Socket::open(NETLINK_ROUTE);
    demand(socket.has_value(), "no socket");
    KernelState state;
    question.ask(*socket, state);
    const auto again = state_from_json(to_json(state));
    demand(again.has_value(), again ? "" : text(again.error()).c_str());
    demand(*again == state, "a snapshot that says something else");
}

namespace {

/// Attributes, some of them nests, with numbers and sizes that occur.
void add_attributes(std::vector<std::byte>& out, wireguard::SeededRandom& random, int depth) {
    for (std::uint64_t n = random.next() % 8; n-- > 0;) {
        const std::size_t at = out.size();
        constexpr std::array<std::size_t, 8> sizes{0, 1, 2, 4, 8, 16, 28, 32};
        out.resize(at + sizeof(nlattr));
        if (depth > 0 && random.chance(0.4)) {
            add_attributes(out, random, depth - 1);
        } else {
            out.resize(out.size() + sizes.at(random.next() % sizes.size()));
            random.fill(wire::MutableBytes{out}.subspan(at + sizeof(nlattr)));
        }
        nlattr header{};
        header.nla_len = static_cast<std::uint16_t>(out.size() - at + (random.chance(0.05) ? random.next() % 64 : 0));
        header.nla_type = static_cast<std::uint16_t>(random.next() % 32);
        store(out, at, header);
        out.resize((out.size() + 3) / 4 * 4);
    }
}

std::vector<std::byte> any_answer(wireguard::SeededRandom& random) {
    constexpr std::array<std::size_t, 4> fixed{4, 8, 12, 16};   // genlmsghdr, ifaddrmsg, rtmsg, ifinfomsg
    std::vector<std::byte> out(fixed.at(random.next() % fixed.size()));
    random.fill(out);
    if (random.chance(0.7)) out.front() = std::byte{2};   // AF_INET
    add_attributes(out, random, 3);
    return out;
}

std::vector<std::byte> linux_answer(const Question& question, wireguard::SeededRandom& random) {
    fuzz::AnswerWriter writer{random};
    question.answer(writer);
    return std::move(writer.bytes);
}

}  // namespace

std::vector<std::byte> fuzz::make_up(wireguard::SeededRandom& random) {
    const std::size_t asked = random.next() % questions.size();
    const bool as_linux = random.chance(0.5);
    std::vector<std::byte> out{static_cast<std::byte>(asked)};
    for (std::uint64_t n = random.next() % 4; n-- > 0;) {
        const auto payload = as_linux ? linux_answer(questions.at(asked), random) : any_answer(random);
        std::array<std::byte, 3> head{};
        wire::store8(head, 0, static_cast<std::uint8_t>(random.chance(0.8) ? 0 : random.next()));
        wire::store16(head, 1, static_cast<std::uint16_t>(payload.size()));
        out.insert(out.end(), head.begin(), head.end());
        out.insert(out.end(), payload.begin(), payload.end());
    }
    return out;
}
