#include "daemon/wireguard/replay_window.hpp"

#include <algorithm>

namespace overlay::wireguard {

bool ReplayWindow::accept(std::uint64_t counter) {
    if (counter >= reject_after_messages) return false;
    if (counter + size < ahead_) return false;  // cannot wrap: the limit leaves 2^13 above it

    const std::uint64_t word = counter / 64;
    if (counter >= ahead_) {
        const std::uint64_t last_word = ahead_ == 0 ? 0 : (ahead_ - 1) / 64;
        const std::uint64_t to_clear = std::min<std::uint64_t>(word - last_word, words);
        for (std::uint64_t i = 1; i <= to_clear; ++i) seen_[(last_word + i) % words] = 0;
        ahead_ = counter + 1;
    }
    const std::uint64_t bit = std::uint64_t{1} << (counter % 64);
    std::uint64_t& bits = seen_[word % words];
    if ((bits & bit) != 0) return false;
    bits |= bit;
    return true;
}

}  // namespace overlay::wireguard
