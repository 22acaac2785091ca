#include "daemon/wireguard/messages.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace overlay::wireguard;

TEST_SUITE("wireguard messages") {

    TEST_CASE("a type is believed only with its own length and with zeros behind it") {
        for (unsigned type = 0; type < 256; ++type) {
            for (std::size_t size = 0; size < 300; ++size) {
                std::vector<std::byte> datagram(size);
                if (size > 0) datagram[0] = static_cast<std::byte>(type);
                const bool is_message = (type == 1 && size == 148) || (type == 2 && size == 92) ||
                                        (type == 3 && size == 64) || (type == 4 && size >= 32);
                if (parse_type(datagram).has_value() != is_message)
                    FAIL_CHECK(type << " of " << size);
                for (std::size_t reserved = 1; reserved < 4 && is_message; ++reserved) {
                    datagram[reserved] = std::byte{1};
                    CHECK_FALSE(parse_type(datagram).has_value());
                    datagram[reserved] = std::byte{0};
                }
            }
        }
    }

    TEST_CASE("padding ends at a multiple of 16 or at the MTU") {
        struct Row {
            std::size_t packet, mtu, padded;
        };
        for (const Row row :
             {Row{0, 1420, 0}, Row{1, 1420, 16}, Row{16, 1420, 16}, Row{17, 1420, 32},
              Row{1408, 1420, 1408}, Row{1409, 1420, 1420}, Row{1420, 1420, 1420},
              Row{1421, 1420, 1436}, Row{2840, 1420, 2840}, Row{1421, 0, 1424}}) {
            CAPTURE(row.packet);
            CHECK(padded_bytes(row.packet, row.mtu) == row.padded);
        }
    }
}
