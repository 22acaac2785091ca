#include "daemon/datapath/trains.hpp"

namespace overlay::datapath {

Trains::Trains(std::size_t max_slices, std::size_t max_header_bytes)
    : header_memory_(max_header_bytes), max_slices_{max_slices} {
    slices_.reserve(max_slices);
    runs_.reserve(max_slices);
    trains_.reserve(max_slices);
}

wire::MutableBytes Trains::headers(std::size_t size_bytes) {
    if (header_memory_.size() - header_used_ < size_bytes) return {};
    const wire::MutableBytes out{header_memory_.data() + header_used_, size_bytes};
    header_used_ += size_bytes;
    return out;
}

bool Trains::joins(const Run& run, const Destination& destination, std::size_t size_bytes) const {
    return !run.ended && run.destination == destination && size_bytes <= run.segment_bytes &&
           run.segments < io::max_train_segments &&
           run.size_bytes + size_bytes <= io::max_train_bytes;
}

/// The run that a datagram of this size becomes the last of; it is counted there already.
Trains::Run& Trains::run_for(const Destination& destination, std::size_t size_bytes) {
    if (runs_.empty() || !joins(runs_.back(), destination, size_bytes)) {
        runs_.push_back({.destination = destination,
                         .first_slice = slices_.size(),
                         .segment_bytes = size_bytes});
    }
    Run& run = runs_.back();
    run.size_bytes += size_bytes;
    ++run.segments;
    run.ended = size_bytes < run.segment_bytes;
    return run;
}

bool Trains::add(const Destination& destination, wire::MutableBytes headers, wire::Bytes payload) {
    if (slices_.size() + 2 > max_slices_) return false;
    Run& run = run_for(destination, headers.size() + payload.size());
    slices_.push_back({headers.data(), headers.size()});
    slices_.push_back({const_cast<std::byte*>(payload.data()), payload.size()});
    run.slices += 2;
    return true;
}

bool Trains::add(const Destination& destination, wire::Bytes datagram) {
    if (slices_.size() + 1 > max_slices_) return false;
    Run& run = run_for(destination, datagram.size());
    if (run.slices > 0) {
        iovec& last = slices_.back();
        if (static_cast<std::byte*>(last.iov_base) + last.iov_len == datagram.data()) {
            last.iov_len += datagram.size();
            return true;
        }
    }
    slices_.push_back({const_cast<std::byte*>(datagram.data()), datagram.size()});
    ++run.slices;
    return true;
}

std::span<const io::Train> Trains::trains() {
    trains_.clear();
    for (const Run& run : runs_) {
        trains_.push_back({.to = run.destination.to,
                           .from = run.destination.from,
                           .slices = std::span{slices_}.subspan(run.first_slice, run.slices),
                           .segment_bytes = run.segment_bytes,
                           .size_bytes = run.size_bytes,
                           .segments = run.segments,
                           .traffic_class = run.destination.traffic_class,
                           .ttl = run.destination.ttl});
    }
    return trains_;
}

void Trains::clear() {
    header_used_ = 0;
    slices_.clear();
    runs_.clear();
}

}  // namespace overlay::datapath
