// Eight bytes a step into four sums, in the machine's own byte order: the one's complement sum of swapped
// words is the swapped sum (RFC 1071 §2), so one swap at the end will do.

#include "daemon/wire/checksum.hpp"

#include <bit>
#include <cstring>

namespace overlay::wire {

namespace {

std::uint64_t native64(const std::byte* at) {
    std::uint64_t value = 0;
    std::memcpy(&value, at, sizeof value);
    return value;
}

/// Adds the two halves, so that eight-byte words can be added up without a carry for 2^32 of them.
Sum halves(std::uint64_t value) { return (value & 0xffffffffU) + (value >> 32); }

/// Of whole words and a rest, as numbers of this machine.
Sum native_sum(Bytes bytes) {
    Sum sums[4] = {};
    std::size_t at = 0;
    for (; bytes.size() - at >= 32; at += 32) {
        for (std::size_t lane = 0; lane < 4; ++lane)
            sums[lane] += halves(native64(bytes.data() + at + lane * 8));
    }
    for (; bytes.size() - at >= 8; at += 8) sums[0] += halves(native64(bytes.data() + at));
    if (at < bytes.size()) {   // memcpy into zeros pads the odd byte in either byte order
        std::uint64_t rest = 0;
        std::memcpy(&rest, bytes.data() + at, bytes.size() - at);
        sums[1] += halves(rest);
    }
    return sums[0] + sums[1] + sums[2] + sums[3];
}

}  // namespace

Sum sum_of(Bytes bytes, Sum start) {
    const std::uint16_t folded = fold(native_sum(bytes));
    if constexpr (std::endian::native == std::endian::little) {
        return start + static_cast<std::uint16_t>(folded << 8 | folded >> 8);
    } else {
        return start + folded;
    }
}

}  // namespace overlay::wire
