#include "daemon/datapath/frame_writer.hpp"

namespace overlay::datapath {

using namespace wire;

std::size_t PlainFrames::cut(const SuperFrame& frame) {
    whole_.clear();   // it keeps its memory: a device that refuses once may refuse for ever
    for (const iovec& slice : frame.slices().subspan(1)) {
        const auto* const start = static_cast<const std::byte*>(slice.iov_base);
        whole_.insert(whole_.end(), start, start + slice.iov_len);
    }
    plan_.reset();
    const VnetHeader& header = frame.header();
    if (header.segmentation() == VnetHeader::gso_none) {
        const bool is_unfinished = (header.flags & VnetHeader::needs_checksum) != 0;
        return !is_unfinished || finish_checksum(whole_, header) ? 1 : 0;
    }
    const auto plan = plan_segments(whole_, header, inner_);
    if (!plan) return 0;
    plan_ = *plan;
    return plan_->count;
}

std::span<const iovec> PlainFrames::slices(std::size_t index) {
    slices_[0] = {&plain_, sizeof plain_};
    if (!plan_) {
        slices_[1] = {whole_.data(), whole_.size()};
        return std::span{slices_}.first(2);
    }
    headers_.resize(plan_->header_bytes());
    write_segment_headers(*plan_, index, headers_);
    const Bytes payload = plan_->payload(index);
    slices_[1] = {headers_.data(), headers_.size()};
    slices_[2] = {const_cast<std::byte*>(payload.data()), payload.size()};
    return slices_;
}

}  // namespace overlay::datapath
