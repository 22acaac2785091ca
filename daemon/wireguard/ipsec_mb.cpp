#include "daemon/wireguard/ipsec_mb.hpp"

#include "topology/result.hpp"

#ifdef OVERLAY_HAS_IPSEC_MB
#include <intel-ipsec-mb.h>
#endif

#include <memory>

namespace overlay::wireguard::ipsec_mb {

namespace {
bool is_wanted = true;
}

void do_without() { is_wanted = false; }

#ifdef OVERLAY_HAS_IPSEC_MB

namespace {

struct Free {
    void operator()(IMB_MGR* manager) const { free_mb_mgr(manager); }
};
using Manager = std::unique_ptr<IMB_MGR, Free>;

/// nullptr where the library would fall back to code that OpenSSL's surpasses.
Manager make_manager() {
    Manager manager{alloc_mb_mgr(0)};
    if (!manager) return nullptr;
    IMB_ARCH chosen = IMB_ARCH_NONE;
    init_mb_mgr_auto(manager.get(), &chosen);
    return chosen >= IMB_ARCH_AVX2 ? std::move(manager) : nullptr;
}

/// One for each thread, since it holds the jobs that are under way.
IMB_MGR* manager() {
    thread_local const Manager mine = make_manager();
    return mine.get();
}

}  // namespace

bool is_available() { return is_wanted && manager() != nullptr; }

void run(Direction direction, const Secret32& key, const Packet& packet) {
    IMB_MGR* const jobs = manager();
    OVERLAY_ASSERT(jobs != nullptr && !packet.text.empty());
    IMB_JOB* job = IMB_GET_NEXT_JOB(jobs);
    const bool seals = direction == Direction::Seal;
    job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
    job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
    job->cipher_direction = seals ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
    job->chain_order = seals ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
    job->enc_keys = job->dec_keys = key.bytes().data();
    job->key_len_in_bytes = key.bytes().size();
    job->iv = reinterpret_cast<const std::uint8_t*>(packet.nonce.data());
    job->iv_len_in_bytes = packet.nonce.size();
    job->src = job->dst = reinterpret_cast<std::uint8_t*>(packet.text.data());
    job->cipher_start_src_offset_in_bytes = job->hash_start_src_offset_in_bytes = 0;
    job->msg_len_to_cipher_in_bytes = job->msg_len_to_hash_in_bytes = packet.text.size();
    job->auth_tag_output = reinterpret_cast<std::uint8_t*>(packet.tag.data());
    job->auth_tag_output_len_in_bytes = packet.tag.size();
    job->u.CHACHA20_POLY1305.aad = packet.associated.data();
    job->u.CHACHA20_POLY1305.aad_len_in_bytes = packet.associated.size();
    job = IMB_SUBMIT_JOB(jobs);
    if (job == nullptr) job = IMB_FLUSH_JOB(jobs);   // a version that waits for more of them
    OVERLAY_ASSERT(job != nullptr && job->status == IMB_STATUS_COMPLETED);
}

#else

bool is_available() { return false; }

void run(Direction, const Secret32&, const Packet&) {
    OVERLAY_UNREACHABLE("the library was not there when this was built");
}

#endif

}  // namespace overlay::wireguard::ipsec_mb
