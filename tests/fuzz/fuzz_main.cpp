#include "fuzz.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>

using namespace overlay;

std::string fuzz::worn(std::string text, wireguard::SeededRandom& random) {
    for (std::uint64_t n = random.next() % 4; n-- > 0 && !text.empty();) {
        const std::size_t at = random.next() % text.size();
        const std::size_t size = random.next() % 40;
        const std::uint64_t how = random.next() % 3;
        if (how == 0) text.erase(at, size);
        if (how == 1) text.insert(at, text.substr(random.next() % text.size(), size));
        if (how == 2) text[at] = static_cast<char>(random.next());
    }
    return text;
}

std::vector<std::byte> fuzz::bytes_of(std::string_view text) {
    const auto bytes = std::as_bytes(std::span{text});
    return {bytes.begin(), bytes.end()};
}

#ifdef OVERLAY_LIBFUZZER

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    fuzz::run(std::as_bytes(std::span{bytes, size}));
    return 0;
}

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* bytes, std::size_t size, std::size_t max_size);

/// Now and then an input that is made up, so that the corpus has what a fuzzer would need days to come upon.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* bytes, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
    constexpr unsigned every = 64;
    if (seed % every != 0) return LLVMFuzzerMutate(bytes, size, max_size);
    wireguard::SeededRandom random{seed};
    const std::vector<std::byte> made = fuzz::make_up(random);
    const std::size_t taken = std::min(made.size(), max_size);
    std::ranges::copy(std::span{made}.first(taken), std::as_writable_bytes(std::span{bytes, taken}).begin());
    return taken;
}

#else

namespace {

int replay(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    int inputs = 0;
    if (path.extension() == ".hex") {
        for (std::string line; std::getline(file, line); ++inputs)
            fuzz::run(wireguard::from_hex(line));
        return inputs;
    }
    const std::string text{std::istreambuf_iterator<char>{file}, {}};
    fuzz::run(std::as_bytes(std::span{text}));
    return 1;
}

int make_up(std::uint64_t count, std::uint64_t seed) {
    std::printf("%llu inputs from seed %llu\n", static_cast<unsigned long long>(count),
                static_cast<unsigned long long>(seed));
    wireguard::SeededRandom random{seed};
    for (std::uint64_t i = 0; i < count; ++i) fuzz::run(fuzz::make_up(random));
    return static_cast<int>(count);
}

}  // namespace

int main(int argc, char** argv) {
    int inputs = 0;
    if (argc == 4 && std::string_view{argv[1]} == "--random") {
        inputs = make_up(std::stoull(argv[2]), std::stoull(argv[3]));
    } else {
        for (const std::string path : std::span{argv, static_cast<std::size_t>(argc)}.subspan(1)) {
            if (!std::filesystem::is_directory(path)) {
                inputs += replay(path);
                continue;
            }
            for (const auto& each : std::filesystem::directory_iterator{path})
                inputs += replay(each.path());
        }
    }
    std::printf("%d inputs, no bug\n", inputs);
    return inputs == 0 ? 1 : 0;
}

#endif
