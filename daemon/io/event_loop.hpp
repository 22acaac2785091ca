#pragma once
// One thread's waiting: descriptors that somebody watches, and one alarm. Who is called may watch and
// forget others while it is called, and set the alarm. So may other threads while this one sleeps.

#include "daemon/io/files.hpp"
#include "daemon/wireguard/moment.hpp"

#include <array>
#include <unordered_map>

#include <sys/epoll.h>

namespace overlay::io {

/// Whoever is told that a descriptor can be read.
class Reader {
  public:
    Reader() = default;
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;
    virtual ~Reader() = default;
    virtual void on_readable() = 0;
};

class EventLoop;

/// While it lives, the reader is told. The loop and the descriptor must outlive it.
class Watch {
  public:
    Watch() = default;
    Watch(Watch&& other) noexcept { swap(other); }
    Watch& operator=(Watch&& other) noexcept {
        Watch moved{std::move(other)};
        swap(moved);
        return *this;
    }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch();

  private:
    friend class EventLoop;
    Watch(EventLoop& loop, int fd, std::uint64_t id) : loop_{&loop}, fd_{fd}, id_{id} {}
    void swap(Watch& other) noexcept {
        std::swap(loop_, other.loop_);
        std::swap(fd_, other.fd_);
        std::swap(id_, other.id_);
    }
    EventLoop* loop_ = nullptr;
    int fd_ = -1;
    std::uint64_t id_ = 0;
};

class EventLoop {
  public:
    using Deadline = wireguard::Clock::time_point;   ///< of io::now(); Deadline::max(): none

    [[nodiscard]] static Result<EventLoop> make();
    EventLoop(EventLoop&&) = default;   // before anything is watched
    EventLoop& operator=(EventLoop&&) = delete;
    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;
    ~EventLoop() = default;

    [[nodiscard]] Result<Watch> watch(int fd, Reader& who);
    /// When sleep() is to end at the latest. Errors: Failed.
    [[nodiscard]] Result<void> set_alarm(Deadline deadline);
    /// Until something can be read, or the alarm rings. Errors: Failed, when the loop itself breaks.
    [[nodiscard]] Result<void> sleep();
    /// Every reader that had something when it woke up, and is still there.
    void tell();
    /// All three, where no other thread has a part in it.
    [[nodiscard]] Result<void> wait(Deadline deadline);

  private:
    friend class Watch;
    EventLoop(UniqueFd poll, UniqueFd alarm) : poll_{std::move(poll)}, alarm_{std::move(alarm)} {}
    void forget(int fd, std::uint64_t id);

    UniqueFd poll_;
    UniqueFd alarm_;
    Deadline alarm_at_ = Deadline::max();
    std::array<epoll_event, 64> events_{};   ///< of the last sleep
    std::size_t count_ = 0;
    std::unordered_map<std::uint64_t, Reader*> readers_;
    std::uint64_t next_id_ = 1;   ///< 0 is the alarm; never used again, so that a late event finds nobody
};

}  // namespace overlay::io
