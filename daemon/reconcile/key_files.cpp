// Reads key files for one node. The bytes go into Secrets and nowhere else; buffers are wiped.

#include "daemon/reconcile/key_files.hpp"

#include "daemon/io/files.hpp"
#include "topology/derive.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace overlay {

namespace {

constexpr std::size_t key_text_bytes = 44;  // base64 of 32 bytes

std::string resolve(const std::string& base, const std::string& path) {
    return path.starts_with('/') || base.empty() ? path : base + "/" + path;
}

Result<void> check_owner(int fd, const std::string& path) {
    struct stat info {};
    if (::fstat(fd, &info) != 0) return fail(io::system_error("inspect " + path, errno));
    if (!S_ISREG(info.st_mode))
        return fail(Error::Kind::Invalid, "read " + path, "not a regular file");
    if ((info.st_mode & 077U) != 0) {
        Error error{Error::Kind::Invalid, "read " + path,
                    fmt::format("others can read it (mode {:04o})", info.st_mode & 07777U), 0,
                    "chmod 600 " + path};
        return fail(std::move(error));
    }
    if (info.st_uid != 0 && info.st_uid != ::geteuid()) {
        return fail(Error::Kind::Invalid, "read " + path,
                    fmt::format("owned by uid {}, neither root nor you", info.st_uid));
    }
    return {};
}

/// `make`: the command that makes such a file, told where there is none.
Diagnostic finding(const Error& error, const SecretFile& file, const std::string& make) {
    const bool missing = error.kind == Error::Kind::NotFound;
    return {Diagnostic::Severity::Error, file.at, file.path, error.doing + ": " + error.reason,
            missing ? "make it with: " + make : error.hint};
}

/// The public key that the file states for this private key file; nullopt: none depends on it.
std::vector<PublicKey> stated_keys(const Topology& topology, const Node& node,
                                   const std::string& file) {
    std::vector<PublicKey> out;
    if (node.is_hub && node.wireguard) out.push_back(node.wireguard->public_key.value);
    for (const LinkSpec& link : node.links) {
        if (link.public_key && private_key_file(topology, link) == file)
            out.push_back(link.public_key->value);
    }
    return out;
}

}  // namespace

Result<SecretBytes> read_key_file(const std::string& path) {
    const io::UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
    if (fd.get() < 0) {
        const int saved = errno;
        if (saved == ELOOP) return fail(Error::Kind::Invalid, "read " + path, "a symbolic link");
        Error error = io::system_error("read " + path, saved);
        return fail(std::move(error));
    }
    if (auto checked = check_owner(fd.get(), path); !checked) return pass_on(checked);
    std::array<char, 128> buffer{};
    const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0) return fail(io::system_error("read " + path, errno));
    if (n == 0) return fail(Error::Kind::Invalid, "read " + path, "empty");
    std::string_view text{buffer.data(), static_cast<std::size_t>(n)};
    const bool is_whole = text.size() < buffer.size();
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
    auto bytes = is_whole && text.size() == key_text_bytes ? base64_decode(text) : std::nullopt;
    OPENSSL_cleanse(buffer.data(), buffer.size());
    if (!bytes || bytes->size() != 32) {
        return fail(Error::Kind::Invalid, "read " + path,
                    "not one line of base64 for 32 bytes, as `wg genkey` prints");
    }
    SecretBytes out{};
    std::memcpy(out.data(), bytes->data(), out.size());
    OPENSSL_cleanse(bytes->data(), bytes->size());
    if (out == SecretBytes{}) {  // what WireGuard takes for "none"
        return fail(Error::Kind::Invalid, "read " + path, "a key of zeros is none");
    }
    return out;
}

LoadedKeys load_keys(const Topology& topology, const Node& node, const std::string& base_directory,
                     WhichKeys which) {
    LoadedKeys out;
    const SecretFiles files = secret_files(topology, node);
    for (const SecretFile& file : files.preshared_keys) {
        const std::string path = resolve(base_directory, file.value);
        auto key = read_key_file(path);
        if (key) {
            out.preshared[file.value] = out.secrets.add_preshared_key(*key);
            OPENSSL_cleanse(key->data(), key->size());
        } else {
            out.diagnostics.push_back(
                finding(key.error(), file, "overlayctl keygen --preshared " + path));
        }
    }
    if (which == WhichKeys::PresharedOnly) return out;
    for (const SecretFile& file : files.private_keys) {
        const std::string path = resolve(base_directory, file.value);
        auto key = read_key_file(path);
        if (!key) {
            out.diagnostics.push_back(finding(key.error(), file, "overlayctl keygen " + path));
            continue;
        }
        const PublicKey public_key = out.secrets.add_private_key(*key);
        OPENSSL_cleanse(key->data(), key->size());
        for (const PublicKey& stated : stated_keys(topology, node, file.value)) {
            if (stated == public_key) continue;
            out.diagnostics.push_back(
                {Diagnostic::Severity::Error, file.at, file.path,
                 fmt::format("the private key in {} has the public key {}, the file states {}",
                             file.value, text(public_key), text(stated)),
                 "correct public_key, or name the key file that belongs to it"});
        }
    }
    return out;
}

}  // namespace overlay
