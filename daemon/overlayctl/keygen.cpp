// overlayctl keygen: a new private key in a file that only its owner can read. The public key,
// which goes into the topology file, is all that is printed.

#include "daemon/overlayctl/command.hpp"
#include "netlink/secrets.hpp"
#include "topology/derive.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

namespace overlay {

namespace po = boost::program_options;

namespace {

constexpr unsigned owner_only = 0600;

Result<SecretBytes> random_bytes() {
    SecretBytes out{};
    if (::getrandom(out.data(), out.size(), 0) !=
        static_cast<ssize_t>(out.size())) {  // ≤ 256 bytes: never short
        return fail(io::system_error("get random bytes", errno));
    }
    return out;
}

/// The bits that a Curve25519 private key always has (RFC 7748 §5), as `wg genkey` sets them.
void clamp(SecretBytes& key) {
    key[0] &= 248U;
    key[31] = static_cast<std::uint8_t>((key[31] & 127U) | 64U);
}

/// Only ever a new file: a link or file that is there already is an error.
Result<void> create_file(const std::string& path, const std::string& content) {
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    const io::UniqueFd fd{::open(path.c_str(), flags, owner_only)};
    if (fd.get() < 0) {
        const int saved = errno;
        Error error = io::system_error("create " + path, saved);
        if (saved == EEXIST)
            error.hint = "--force replaces it; whoever relies on the old key is cut off";
        return fail(std::move(error));
    }
    const bool whole =
        ::write(fd.get(), content.data(), content.size()) == static_cast<ssize_t>(content.size());
    if (whole && ::fsync(fd.get()) == 0) return {};
    const int saved = whole ? errno : ENOSPC;
    (void)::unlink(path.c_str());  // half a key is none
    return fail(io::system_error("write " + path, saved));
}

Result<void> save(const std::string& path, const SecretBytes& key, const CommandLine& command) {
    std::string line = base64_encode(key.data(), key.size()) + "\n";
    const auto saved =
        command.has("force") ? io::replace_file(path, line, owner_only) : create_file(path, line);
    OPENSSL_cleanse(line.data(), line.size());
    return saved;
}

/// FILE, or where the topology file expects the key when it does not say:
/// /etc/overlay/<network>.key.
OrExit<std::string> destination(const CommandLine& command) {
    const std::string network = command.text_of("network");
    if (command.has("FILE") == command.has("network"))
        return complain("say either FILE or --network NAME");
    if (!network.empty() && !is_network_name(network))
        return complain(fmt::format("--network \"{}\": not the name of a network", network));
    const std::string file =
        network.empty() ? command.text_of("FILE") : default_key_file(network);
    // Where keys are by default, and nowhere else: a path with a slip in it is an error.
    const std::filesystem::path folder{"/etc/overlay"};
    if (std::filesystem::path{file}.parent_path() != folder) return file;
    if (const auto made = io::make_directories(folder, 0755); !made) return complain(made.error());
    return file;
}

}  // namespace

int run_keygen(const Arguments& arguments) {
    CommandLine command{"keygen {FILE | --network NAME} [--preshared] [--force]",
                        "Makes a private key in FILE (mode 0600) and prints its public key, which "
                        "belongs into the\n"
                        "topology file. An existing file is never overwritten without --force."};
    command.optional_positional("FILE");
    command.options().add_options()(
        "network", po::value<std::string>()->value_name("NAME"),
        "write /etc/overlay/NAME.key, the default private_key_file of that network")(
        "preshared", "make a preshared key instead; prints nothing")("force",
                                                                     "replace an existing file");
    if (const auto over = command.parse(arguments)) return *over;
    const auto path = destination(command);
    if (const Exit* over = std::get_if<Exit>(&path)) return *over;

    auto key = random_bytes();
    if (!key) return complain(key.error());
    const bool preshared = command.has("preshared");
    if (!preshared) clamp(*key);
    const auto saved = save(std::get<std::string>(path), *key, command);
    const std::string public_key = preshared ? "" : text(public_key_of(*key)) + "\n";
    OPENSSL_cleanse(key->data(), key->size());
    if (!saved) return complain(saved.error());
    print(stdout, public_key);
    return exit_done;
}

}  // namespace overlay
