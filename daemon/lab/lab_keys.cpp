#include "daemon/lab/lab_keys.hpp"

#include "daemon/io/files.hpp"
#include "daemon/reconcile/key_files.hpp"
#include "netlink/secrets.hpp"
#include "topology/derive.hpp"

#include <openssl/crypto.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace overlay::lab {
namespace {

namespace fs = std::filesystem;

struct NodeKey {
    PublicKey public_key;
    std::string file;
};

Result<SecretBytes> random_secret() {
    SecretBytes bytes{};
    // Up to 256 bytes come whole once the pool is ready (getrandom(2)).
    if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
        return fail(Error::Kind::Failed, "draw a key", std::strerror(errno), errno);
    }
    return bytes;
}

Result<void> write_secret(const fs::path& file, SecretBytes& bytes) {
    std::string line = base64_encode(bytes.data(), bytes.size()) + "\n";
    auto written = io::replace_file(file.string(), line, 0600);
    OPENSSL_cleanse(line.data(), line.size());
    OPENSSL_cleanse(bytes.data(), bytes.size());
    return written;
}

Result<NodeKey> make_key(const fs::path& file) {
    auto bytes = random_secret();
    if (!bytes) return pass_on(bytes);
    // Clamped as RFC 7748 §5 asks, so that the file holds what `wg showconf` will say.
    (*bytes)[0] &= 248U;
    (*bytes)[31] = static_cast<std::uint8_t>(((*bytes)[31] & 127U) | 64U);
    const PublicKey name = public_key_of(*bytes);
    if (auto written = write_secret(file, *bytes); !written) return pass_on(written);
    return NodeKey{name, file.string()};
}

Result<NodeKey> check_given(const fs::path& file, const std::optional<PublicKey>& stated) {
    auto bytes = read_key_file(file.string());
    if (!bytes) return pass_on(bytes);
    const PublicKey found = public_key_of(*bytes);
    OPENSSL_cleanse(bytes->data(), bytes->size());
    if (stated && found != *stated) {
        return fail(Error::Kind::Invalid, "read the key " + file.string(),
                    "its public key is " + text(found) + ", the file says " + text(*stated));
    }
    return NodeKey{found, file.string()};
}

Result<NodeKey> key_for(const KeySource& source, const std::string& id,
                        const std::optional<PublicKey>& stated) {
    const std::string file = id + ".key";
    return source.given ? check_given(fs::absolute(*source.given) / file, stated)
                        : make_key(source.made / file);
}

Result<std::string> preshared_for(const KeySource& source, const std::string& id) {
    const std::string name = id + ".psk";
    if (source.given) {
        const fs::path file = fs::absolute(*source.given) / name;
        auto bytes = read_key_file(file.string());
        if (!bytes) return pass_on(bytes);
        OPENSSL_cleanse(bytes->data(), bytes->size());
        return file.string();
    }
    auto bytes = random_secret();
    if (!bytes) return pass_on(bytes);
    if (auto written = write_secret(source.made / name, *bytes); !written) return pass_on(written);
    return (source.made / name).string();
}

Result<void> give_keys(LinkSpec& link, const Node& spoke, const KeySource& source) {
    const bool needs_key = link.public_key || link.type.value != LinkType::GretapGue;
    if (needs_key) {
        std::optional<PublicKey> stated;
        if (link.public_key) stated = link.public_key->value;
        const auto key = key_for(source, link_id(spoke, link), stated);
        if (!key) return pass_on(key);
        const Span at = link.public_key ? link.public_key->at : link.at;
        link.public_key = Located<PublicKey>{key->public_key, at};
        link.private_key_file = Located<std::string>{key->file, at};
    }
    if (link.preshared_key_file) {
        auto file = preshared_for(source, link_id(spoke, link));
        if (!file) return pass_on(file);
        link.preshared_key_file->value = std::move(*file);
    }
    return {};
}

}   // namespace

Result<Topology> with_lab_keys(Topology topology, const KeySource& source) {
    if (!source.given) {
        if (auto made = io::make_directories(source.made.string(), 0700); !made)
            return pass_on(made);
    }
    if (topology.hub.wireguard) {
        WireguardEndpoint& hub = *topology.hub.wireguard;
        const auto key = key_for(source, topology.hub.name, hub.public_key.value);
        if (!key) return pass_on(key);
        hub.public_key.value = key->public_key;
        hub.private_key_file.value = key->file;
    }
    for (Node& spoke : topology.spokes) {
        for (LinkSpec& link : spoke.links) {
            if (auto given = give_keys(link, spoke, source); !given) return pass_on(given);
        }
    }
    return topology;
}

}   // namespace overlay::lab
