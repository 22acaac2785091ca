#include "daemon/io/own_pages.hpp"

#include <charconv>
#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

#include <sys/mman.h>

namespace overlay::io {

namespace {

struct Mapping {
    std::uintptr_t start = 0, end = 0;
    bool is_read_only = false, is_of_file = false;
};

/// "7f31c0000000-7f31c0021000 r-xp 00021000 08:01 1234   /lib/libc.so.6"; nullopt: another kind of line.
std::optional<Mapping> parse_mapping(std::string_view line) {
    Mapping out;
    const char* const end = line.data() + line.size();
    const auto start = std::from_chars(line.data(), end, out.start, 16);
    if (start.ec != std::errc{} || start.ptr == end || *start.ptr != '-') return std::nullopt;
    const auto stop = std::from_chars(start.ptr + 1, end, out.end, 16);
    if (stop.ec != std::errc{} || end - stop.ptr < 5) return std::nullopt;
    out.is_read_only = stop.ptr[1] == 'r' && stop.ptr[2] == '-' && stop.ptr[4] == 'p';
    out.is_of_file = line.find('/') != line.npos;
    return out;
}

void unmap_pages(const Mapping& mapping) {
    // An address that the kernel tells is no pointer of ours; nothing is read or written there.
    void* const at = reinterpret_cast<void*>(mapping.start);
    (void)::madvise(at, mapping.end - mapping.start, MADV_DONTNEED);
}

}  // namespace

void let_go_of_file_pages(const std::string& smaps) {
    std::ifstream maps{smaps};
    std::optional<Mapping> mapping;
    for (std::string line; std::getline(maps, line);) {
        if (const auto next = parse_mapping(line)) mapping = next;
        // Relocated constants are read-only, too, and would be lost: they are not the file's any more. Those that were
        // swapped out count as nothing but swap, which the kernel tells behind what is anonymous.
        const bool is_swap = line.starts_with("Swap:");
        if (!mapping || !(is_swap || line.starts_with("Anonymous:"))) continue;
        const bool is_unchanged = line.find_first_of("123456789") == line.npos;
        if (is_swap && is_unchanged && mapping->is_read_only && mapping->is_of_file) unmap_pages(*mapping);
        if (is_swap || !is_unchanged) mapping.reset();
    }
}

}  // namespace overlay::io
