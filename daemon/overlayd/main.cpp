// overlayd: carries in user space what the kernel does not. overlayctl starts it, tells it what, and ends it; it
// can as well be a service that is there all the time.

#include "daemon/io/clock.hpp"
#include "daemon/io/own_pages.hpp"
#include "daemon/overlayd/control_server.hpp"
#include "daemon/overlayd/options.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <functional>
#include <iostream>
#include <thread>
#include <utility>

#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

namespace overlay::overlayd {

namespace {

bool was_ready = false;   ///< this worker, or one before it

// ---- the end ------------------------------------------------------------------------------------

int end_fd = -1;     // for the signal handlers
pid_t worker = -1;   // -1: just now there is none
volatile std::sig_atomic_t is_ending = 0;

void end_worker(int number) {
    is_ending = 1;
    if (worker > 0) (void)::kill(worker, number);
}

void ask_to_end(int) {
    const std::uint64_t one = 1;
    (void)!::write(end_fd, &one, sizeof one);
}

Result<io::UniqueFd> end_by_signal() {
    io::UniqueFd fd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (!fd) return fail(io::system_error("make an event descriptor", errno));
    end_fd = fd.get();
    for (const int number : {SIGTERM, SIGINT}) (void)std::signal(number, ask_to_end);
    (void)std::signal(SIGPIPE, SIG_IGN);
    return fd;
}

/// Every two seconds, and soon when asked to.
class Ticks final : public io::Reader {
  public:
    Result<void> start(io::EventLoop& loop, std::function<void()> tick) {
        tick_ = std::move(tick);
        fd_ = io::UniqueFd{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
        const itimerspec every{{2, 0}, {2, 0}};
        if (!fd_ || ::timerfd_settime(fd_.get(), 0, &every, nullptr) != 0)
            return fail(io::system_error("make a timer", errno));
        auto watch = loop.watch(fd_.get(), *this);
        if (!watch) return pass_on(watch);
        watch_ = std::move(*watch);
        return {};
    }
    void on_readable() override {
        std::uint64_t count = 0;
        if (::read(fd_.get(), &count, sizeof count) <= 0) return;
        is_soon_ = false;
        tick_();
    }
    /// Of any thread.
    void soon() {
        if (is_soon_.exchange(true)) return;
        constexpr long in_a_moment = 20'000'000;   // ns: what happens together is kept together
        const itimerspec next{{2, 0}, {0, in_a_moment}};
        (void)::timerfd_settime(fd_.get(), 0, &next, nullptr);
    }

  private:
    std::function<void()> tick_;
    std::atomic<bool> is_soon_ = false;
    io::UniqueFd fd_;
    io::Watch watch_;
};

// ---- the program --------------------------------------------------------------------------------

void tell_ready(int fd, const std::string& text) {
    if (fd < 0) return;
    (void)!::write(fd, text.data(), text.size());
    ::close(fd);
}

int complain(const Error& error, int ready_fd) {
    std::cerr << "overlayd: " << text(error) << "\n";
    tell_ready(ready_fd, text(error) + "\n");
    return 1;
}

/// A lock that one overlayd has.
Result<io::FileLock> only_one(const std::string& path) {
    auto lock = io::FileLock::acquire(path, std::chrono::seconds{1});
    if (!lock && lock.error().kind == Error::Kind::Busy) {
        const std::string holder = io::FileLock::holder_id(path);
        lock.error().reason = "another overlayd runs" + (holder.empty() ? "" : " (pid " + holder + ")");
        lock.error().hint = "one of another network namespace, perhaps: give this one a --run-dir and a --state-dir "
                            "of its own, or end that one";
    }
    return lock;
}

Result<void> run(Options& options) {
    for (const std::string& directory :
         {options.service.run_directory, options.service.state_directory}) {
        if (const auto made = io::make_directories(directory, 0755); !made) return made;
    }
    // One that is killed frees its lock and not its socket.
    const auto lock = only_one(control::worker_lock(options.service.run_directory));
    if (!lock) return pass_on(lock);
    auto end = end_by_signal();
    if (!end) return pass_on(end);
    auto engine = datapath::Engine::make(options.offloads, options.memory, options.threads);
    if (!engine) return pass_on(engine);
    for (const std::string& each : io::news(options.offloads, (*engine)->offloads()))
        std::cerr << "overlayd: " << each << "\n";
    Ticks ticks;
    Service service{**engine, options.service, [] { ask_to_end(0); }, [&] { ticks.soon(); }};
    bool is_start = false;
    const auto started = [&] {   // or asked for something, which may have been another start
        if (options.memory.keeps_start_pages) return;
        is_start = true;
        ticks.soon();
    };
    const auto server = ControlServer::listen(options.service.run_directory, (*engine)->loop(),
                                              [&](const control::Request& request) {
                                                  started();
                                                  return service.serve(request);
                                              });
    if (!server) return pass_on(server);
    const auto tick = [&] {
        service.on_time();
        (*server)->on_time();
        if (std::exchange(is_start, false)) io::let_go_of_file_pages();
    };
    if (const auto ticking = ticks.start((*engine)->loop(), tick); !ticking) return ticking;
    if (const auto resumed = service.resume(); !resumed) return resumed;
    started();
    was_ready = true;
    tell_ready(std::exchange(options.ready_fd, -1), "ready\n");
    return (*engine)->run(end->get());
}

constexpr int try_again = 75;   // EX_TEMPFAIL of sysexits.h

/// The exit code of a worker. Others must start for one that fails in its middle, or in the place of one that has
/// died, such as for want of descriptors; but not beside another overlayd.
int work(Options& options) {
    const auto ran = run(options);
    if (ran) return 0;
    const auto kind = ran.error().kind;
    const bool is_over = !was_ready || kind == Error::Kind::Busy || kind == Error::Kind::Conflict;
    (void)complain(ran.error(), options.ready_fd);
    return is_over ? 1 : try_again;
}

/// Runs the worker in a child, and another one at once when it dies: frames are lost meanwhile, links are not.
/// One that dies young again and again gets pauses, up to the age from which it needs none: there are never many
/// more starts than one per `longest`. The exit code of one that ended for good.
int supervise(Options& options) {
    constexpr std::chrono::milliseconds longest{1000};
    std::chrono::milliseconds pause{0};
    const std::string& directory = options.service.run_directory;
    if (const auto made = io::make_directories(directory, 0755); !made)
        return complain(made.error(), options.ready_fd);
    auto lock = only_one(control::supervisor_lock(directory));
    if (!lock) return complain(lock.error(), options.ready_fd);
    (void)std::signal(SIGINT, SIG_IGN);   // a terminal's goes to both
    (void)std::signal(SIGHUP, SIG_IGN);   // of the worker, too: nothing is read anew, and links outlive a terminal
    for (;;) {
        const auto started = std::chrono::steady_clock::now();
        worker = ::fork();
        if (worker < 0) {
            const int code = complain(io::system_error("start a worker", errno), options.ready_fd);
            if (!was_ready || is_ending != 0) return code;
            std::this_thread::sleep_for(longest);
            continue;
        }
        if (worker == 0) {
            (void)std::signal(SIGTERM, SIG_DFL);   // its own comes later
            { const io::FileLock of_its_parent = std::move(*lock); }   // else a supervisor that dies would seem to live
            ::_exit(work(options));
        }
        if (options.ready_fd >= 0) ::close(std::exchange(options.ready_fd, -1));
        (void)std::signal(SIGTERM, end_worker);
        if (!options.memory.keeps_start_pages) io::let_go_of_file_pages();
        int status = 0;
        while (::waitpid(worker, &status, 0) < 0 && errno == EINTR) {}
        worker = -1;
        if (WIFEXITED(status) && WEXITSTATUS(status) != try_again) return WEXITSTATUS(status);
        if (WIFSIGNALED(status))
            std::cerr << "overlayd: the worker died of signal " << WTERMSIG(status) << "; another one starts\n";
        was_ready = true;   // whoever waited for the first one knows what became of it
        const bool was_young = std::chrono::steady_clock::now() - started < longest;
        if (!was_young) pause = std::chrono::milliseconds{0};
        std::this_thread::sleep_for(pause);
        if (is_ending != 0) return 0;
        if (was_young) pause = std::min(2 * pause + std::chrono::milliseconds{5}, longest);
    }
}

int main(int argc, char** argv) {
    Options options;
    const auto read = read_options({argv + std::min(argc, 1), argv + argc}, options);
    if (!read) return complain(read.error(), options.ready_fd);
    if (!options.help.empty() || options.version) {
        std::cout << (options.version ? "overlayd " OVERLAY_VERSION "\n" : options.help);
        return 0;
    }
    io::allow_many_descriptors();   // a hub with a thousand links has more devices open than the usual 1024
    if (options.supervise) return supervise(options);
    const auto ran = run(options);
    return ran ? 0 : complain(ran.error(), options.ready_fd);
}

}  // namespace

}  // namespace overlay::overlayd

int main(int argc, char** argv) { return overlay::overlayd::main(argc, argv); }
