#include "netlink/features.hpp"

#include "netlink/fd.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace overlay::netlink {

namespace {

/// Linux include/uapi/linux/ethtool.h: command and size, then blocks of words.
constexpr std::size_t head_words = 2;
constexpr std::size_t words_of_get = sizeof(ethtool_get_features_block) / sizeof(std::uint32_t);
constexpr std::size_t words_of_set = sizeof(ethtool_set_features_block) / sizeof(std::uint32_t);
constexpr std::size_t requested_word = offsetof(ethtool_get_features_block, requested) / 4;

bool ask(const IfName& device, std::vector<std::uint32_t>& words) {
    const UniqueFd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    ifreq request{};
    std::memcpy(request.ifr_name, device.c_str(), device.str().size());
    request.ifr_data = static_cast<char*>(static_cast<void*>(words.data()));
    return socket && ::ioctl(socket.get(), SIOCETHTOOL, &request) == 0;
}

}  // namespace

Features requested_features(const IfName& device) {
    constexpr std::uint32_t most_blocks = 8;   // of 32 features each; Linux 6.18 has two
    std::vector<std::uint32_t> words(head_words + most_blocks * words_of_get);
    words[0] = ETHTOOL_GFEATURES;
    words[1] = most_blocks;
    if (!ask(device, words)) return {};
    Features out;
    for (std::size_t i = 0; i < std::min(words[1], most_blocks); ++i)
        out.push_back(words[head_words + i * words_of_get + requested_word]);
    return out;
}

void request_features(const IfName& device, const Features& wanted) {
    const Features now = requested_features(device);
    if (now == wanted || now.size() != wanted.size()) return;
    std::vector<std::uint32_t> words(head_words + wanted.size() * words_of_set);
    words[0] = ETHTOOL_SFEATURES;
    words[1] = static_cast<std::uint32_t>(wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        std::uint32_t* const block = &words[head_words + i * words_of_set];
        block[0] = now[i] ^ wanted[i];   // valid
        block[1] = wanted[i];            // requested
    }
    (void)ask(device, words);
}

}  // namespace overlay::netlink
