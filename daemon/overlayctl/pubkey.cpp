// overlayctl pubkey: the public key of a private key, from a key file or standard input.

#include "daemon/overlayctl/command.hpp"
#include "daemon/reconcile/key_files.hpp"

#include <openssl/crypto.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>

namespace overlay {

namespace {

/// One line of base64, as from `wg genkey`.
Result<SecretBytes> read_standard_input() {
    std::array<char, 128> buffer{};
    const std::size_t size = std::fread(buffer.data(), 1, buffer.size(), stdin);
    std::string_view line{buffer.data(), size};
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
    auto bytes = base64_decode(line);
    OPENSSL_cleanse(buffer.data(), buffer.size());
    SecretBytes out{};
    if (!bytes || bytes->size() != out.size()) {
        return fail(Error::Kind::Invalid, "read standard input",
                    "not one line of base64 for 32 bytes");
    }
    std::copy(bytes->begin(), bytes->end(), out.begin());
    OPENSSL_cleanse(bytes->data(), bytes->size());
    return out;
}

}  // namespace

int run_pubkey(const Arguments& arguments) {
    CommandLine command{
        "pubkey [FILE]",
        "Prints the public key of the private key in FILE, or on standard input when there is no\n"
        "FILE or it is \"-\". A file that others can read is refused."};
    command.optional_positional("FILE");
    if (const auto over = command.parse(arguments)) return *over;

    const std::string path = command.text_of("FILE");
    auto key = path.empty() || path == "-" ? read_standard_input() : read_key_file(path);
    if (!key) return complain(key.error());
    const std::string line = text(public_key_of(*key)) + "\n";
    OPENSSL_cleanse(key->data(), key->size());
    print(stdout, line);
    return exit_done;
}

}  // namespace overlay
