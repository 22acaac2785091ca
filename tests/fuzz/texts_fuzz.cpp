// The small texts that we read: overlayd.conf, time stamps and key files from disk; nft's listings and /proc/net/udp
// from the kernel; addresses, names and keys from everywhere. The input is a byte for which of them, and a text.
//
// Whatever it says: what is taken is written as a text that is taken, too, and means the same; a refusal has words,
// and of a file of lines the number of one that it has; what hides keys leaves none. A bug aborts.

#include "daemon/datapath/stamp_store.hpp"
#include "daemon/io/files.hpp"
#include "daemon/overlayd/options.hpp"
#include "daemon/reconcile/key_files.hpp"
#include "fuzz.hpp"
#include "netlink/firewall_json.hpp"
#include "netlink/sysctl.hpp"
#include "netlink/udp_sockets.hpp"
#include "topology/key_text.hpp"
#include "topology/state_json.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <sys/stat.h>
#include <unistd.h>

using namespace overlay;
using fuzz::demand;

namespace {

/// A file in memory, if there is a place for such, that goes with us.
class File {
  public:
    File() {
        const bool in_memory = ::access("/dev/shm", W_OK) == 0;
        directory_ = (in_memory ? std::filesystem::path{"/dev/shm"} : std::filesystem::temp_directory_path()) /
                     ("overlay-fuzz-" + std::to_string(::getpid()));
        std::filesystem::create_directory(directory_);
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File() {
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }
    [[nodiscard]] std::string path() const { return (directory_ / "file").string(); }
    void write(std::string_view content) const {
        std::ofstream file{path(), std::ios::binary | std::ios::trunc};
        file << content;
        file.close();
        (void)::chmod(path().c_str(), 0600);
    }
    [[nodiscard]] std::string content() const {
        std::ifstream file{path(), std::ios::binary};
        return {std::istreambuf_iterator<char>{file}, {}};
    }

  private:
    std::filesystem::path directory_;
};

const File& file() {
    static const File out;
    return out;
}

// ---- from disk ---------------------------------------------------------------------------------------

Result<overlayd::Options> options_in(std::string_view content) {
    file().write(content);
    overlayd::Options out;
    if (const auto read = overlayd::read_options({"--config", file().path()}, out); !read) return pass_on(read);
    return out;
}

bool are_equal(const overlayd::Options& a, const overlayd::Options& b) {
    return a.service.run_directory == b.service.run_directory &&
           a.service.state_directory == b.service.state_directory &&
           a.service.uapi_directory == b.service.uapi_directory && a.offloads == b.offloads;
}

std::string written(const overlayd::Options& options) {
    std::string words;
    for (const auto& [name, which] : io::offload_names) {
        if (!(options.offloads.*which).is_on()) continue;
        words += (words.empty() ? "" : ",") + std::string{name};
    }
    return "run-dir = " + options.service.run_directory + "\nstate-dir = " + options.service.state_directory +
           "\nuapi-dir = " + options.service.uapi_directory + "\noffload = " + (words.empty() ? "none" : words) + "\n";
}

void overlayd_conf(std::string_view source) {
    const auto options = options_in(source);
    if (options) {
        const auto again = options_in(written(*options));
        return demand(again && are_equal(*again, *options), "options of ours are refused, or mean something else");
    }
    constexpr std::string_view before = ", line ";
    const std::string& doing = options.error().doing;
    const std::size_t at = doing.rfind(before);
    demand(!options.error().reason.empty(), "refused without words");
    if (at == std::string::npos) return;   // what is wrong with the file as a whole
    std::ptrdiff_t number = 0;
    std::from_chars(doing.data() + at + before.size(), doing.data() + doing.size(), number);
    demand(number >= 1 && number <= std::ranges::count(source, '\n') + 1, "a line that the file does not have");
}

void stamps(std::string_view source) {
    file().write(source);
    const datapath::StampStore store{file().path()};
    const auto bound = store.load();
    if (!bound) return demand(!bound.error().reason.empty(), "refused without words");
    demand(store.keep(*bound).has_value(), "not kept");
    const auto again = store.load();
    demand(again && *again == *bound, "a stamp of ours means something else");
}

void key_file(std::string_view source) {
    file().write(source);
    const auto key = read_key_file(file().path());
    if (!key) {
        const std::string_view like_a_key = source.substr(0, 44);
        const bool is_one_word = like_a_key.size() == 44 && like_a_key.find(' ') == std::string_view::npos;
        demand(!is_one_word || text(key.error()).find(like_a_key) == std::string::npos, "an error tells a key");
        return;
    }
    file().write(base64_encode(key->data(), key->size()) + "\n");
    const auto again = read_key_file(file().path());
    demand(again && *again == *key, "a key of ours is another one");
}

// ---- from the kernel ---------------------------------------------------------------------------------

void nft_listing(std::string_view source) {
    const FoundTable name{"inet", "overlay_home"};
    (void)netlink::chain_names_from_nft_json(name, source);
    const auto table = netlink::table_from_nft_json(name, {std::string{source}});
    if (!table) return demand(!table.error().reason.empty(), "refused without words");
    KernelState state;
    state.tables = {*table};
    demand(state_from_json(to_json(state)) == state, "a table that a snapshot does not hold");
}

void udp_line(std::string_view source) {
    for (const Family family : {Family::Ipv4, Family::Ipv6}) {
        const auto line = netlink::parse_udp_line(family, source);
        if (!line) continue;
        KernelState state;
        state.udp_sockets.insert(line->socket);
        demand(line->socket.family == family && line->socket.local.family() == family, "of another family");
        demand(state_from_json(to_json(state)) == state, "a socket that a snapshot does not hold");
    }
}

// ---- from everywhere ---------------------------------------------------------------------------------

template <class Parse>
void round_trip(std::string_view source, Parse parse) {
    const auto value = parse(source);
    if (value) demand(parse(text(*value)) == value, "a value that is written as another one");
}

void values(std::string_view source) {
    round_trip(source, IpAddress::parse);
    round_trip(source, IpPrefix::parse);
    round_trip(source, MacAddress::parse);
    round_trip(source, IfName::parse);
    round_trip(source, PublicKey::parse);
    round_trip(source, Fingerprint::parse);
    round_trip(source, parse_endpoint);
    if (const auto bytes = base64_decode(source)) {
        const auto* const start = static_cast<const std::uint8_t*>(static_cast<const void*>(bytes->data()));
        demand(base64_encode(start, bytes->size()) == source, "base64 that is not the canonical one");
    }
    if (const auto path = netlink::path_of_sysctl(source))
        demand(path->starts_with("net/") && std::filesystem::path{path->c_str()}.lexically_normal() == *path,
               "a sysctl outside of net");
}

void keys(std::string_view source) {
    const std::string starred = without_keys(std::string{source});
    demand(starred.size() == source.size(), "stars moved the text");
    demand(!holds_a_key(starred), "a key shows");
    demand(holds_a_key(source) == (starred != source), "stars without a key");
    demand(!holds_a_key(without_keys(without_secrets(source))), "a key shows");
}

struct Reader {
    void (*read)(std::string_view source);
    std::string_view example;
};
constexpr std::array<Reader, 7> readers{{
    {overlayd_conf, "# as delivered\nrun-dir = /run/overlay\nstate-dir=/var/lib/overlay\noffload = device,udp-gso\n"},
    {stamps, "400000006789abcd.1dcd6500\n"},
    {key_file, "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n"},
    {nft_listing,
     R"({"nftables": [{"table": {"family": "inet", "name": "overlay_home", "handle": 1}}, {"chain": {"family": "inet",
 "table": "overlay_home", "name": "out", "handle": 1, "type": "nat", "hook": "postrouting", "prio": 100, "policy":
 "accept"}}, {"rule": {"family": "inet", "table": "overlay_home", "chain": "out", "handle": 3, "comment":
 "overlay:home", "expr": [{"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": "eth0"}},
 {"masquerade": null}]}}]})"},
    {udp_line, " 409: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101     0 18411 2 0 0"},
    {values, "[2001:db8::1]:5555"},
    {keys, R"("private_key": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", 'psk' aB01)"},
}};

}  // namespace

void fuzz::run(wire::Bytes input) {
    if (input.empty()) return;
    readers.at(wire::load8(input, 0) % readers.size()).read(text_of(input.subspan(1)));
}

std::vector<std::byte> fuzz::make_up(wireguard::SeededRandom& random) {
    const std::uint64_t which = random.next() % readers.size();
    const std::string text{readers.at(which).example};
    return bytes_of(std::string(1, static_cast<char>(which)) + worn(text, random));
}
