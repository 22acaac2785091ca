#include "daemon/io/event_loop.hpp"

#include <algorithm>
#include <cerrno>
#include <span>

#include <sys/timerfd.h>
#include <unistd.h>

namespace overlay::io {

namespace {

bool add(int poll, int fd, std::uint64_t id) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = id;
    return ::epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) == 0;
}

}  // namespace

Watch::~Watch() {
    if (loop_ != nullptr) loop_->forget(fd_, id_);
}

Result<EventLoop> EventLoop::make() {
    UniqueFd poll{::epoll_create1(EPOLL_CLOEXEC)};
    // A timer of its own clock, since epoll's own timeout stands still while the machine sleeps.
    UniqueFd alarm{::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK)};
    if (!poll || !alarm || !add(poll.get(), alarm.get(), 0))
        return fail(system_error("make the event loop", errno));
    return EventLoop{std::move(poll), std::move(alarm)};
}

Result<Watch> EventLoop::watch(int fd, Reader& who) {
    const std::uint64_t id = next_id_++;
    if (!add(poll_.get(), fd, id)) return fail(system_error("watch a descriptor", errno));
    readers_.emplace(id, &who);
    return Watch{*this, fd, id};
}

void EventLoop::forget(int fd, std::uint64_t id) {
    (void)::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, fd, nullptr);
    readers_.erase(id);
}

Result<void> EventLoop::sleep() {
    const int count = ::epoll_wait(poll_.get(), events_.data(), static_cast<int>(events_.size()), -1);
    if (count < 0 && errno != EINTR) return fail(system_error("wait for events", errno));
    count_ = static_cast<std::size_t>(std::max(count, 0));
    return {};
}

void EventLoop::tell() {
    for (const epoll_event& event : std::span{events_}.first(count_)) {
        const std::uint64_t id = event.data.u64;   // a copy: epoll_event is packed, no reference may point into it
        const auto found = readers_.find(id);
        if (found != readers_.end()) found->second->on_readable();
        if (id != 0) continue;
        std::uint64_t rings = 0;
        (void)!::read(alarm_.get(), &rings, sizeof rings);
        alarm_at_ = Deadline::max();
    }
}

Result<void> EventLoop::wait(Deadline deadline) {
    if (auto set = set_alarm(deadline); !set) return set;
    if (auto slept = sleep(); !slept) return slept;
    tell();
    return {};
}

Result<void> EventLoop::set_alarm(Deadline deadline) {
    if (deadline == alarm_at_) return {};
    using std::chrono::nanoseconds;
    itimerspec when{};
    if (deadline != Deadline::max()) {
        // Zero would switch the alarm off: what is due since ever rings at once.
        const nanoseconds since = std::max<nanoseconds>(deadline.time_since_epoch(), nanoseconds{1});
        when.it_value.tv_sec = since.count() / 1'000'000'000;
        when.it_value.tv_nsec = since.count() % 1'000'000'000;
    }
    if (::timerfd_settime(alarm_.get(), TFD_TIMER_ABSTIME, &when, nullptr) != 0)
        return fail(system_error("set the alarm", errno));
    alarm_at_ = deadline;
    return {};
}

}  // namespace overlay::io
