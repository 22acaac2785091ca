// overlayd: carries in user space what the kernel does not. overlayctl starts it, tells it what, and ends it; it
// can as well be a service that is there all the time.

#include "daemon/io/clock.hpp"
#include "daemon/overlayd/control_server.hpp"
#include "daemon/overlayd/service.hpp"
#include "daemon/reconcile/reconcile.hpp"

#include <boost/program_options.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <functional>
#include <iostream>
#include <thread>
#include <utility>
#include <variant>

#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

namespace overlay::overlayd {

namespace {

namespace po = boost::program_options;

struct Options {
    ServiceOptions service;
    int ready_fd = -1;
    bool supervise = false;
    bool was_ready = false;   ///< this worker, or one before it
};

/// nullopt: the program is over, with this exit code.
std::variant<Options, int> read_options(int argc, char** argv) {
    const Directories defaults;
    Options out;
    po::options_description options{"Options"};
    options.add_options()("help,h", "this text")("version", "the version")(
        "run-dir", po::value(&out.service.run_directory)->default_value(defaults.run)->value_name("DIR"),
        "where the control socket is, and what is carried is kept")(
        "state-dir",
        po::value(&out.service.state_directory)->default_value(defaults.state)->value_name("DIR"),
        "what must outlive a reboot: WireGuard's time stamps")(
        "uapi-dir",
        po::value(&out.service.uapi_directory)
            ->default_value(out.service.uapi_directory)
            ->value_name("DIR"),
        "where `wg` looks for devices")(
        "supervise", po::bool_switch(&out.supervise),
        "start another worker when one dies; for where no service manager does it")(
        "ready-fd", po::value(&out.ready_fd)->value_name("FD"),
        "a descriptor to write \"ready\" to, or why not");
    po::variables_map values;
    try {
        po::store(po::command_line_parser(argc, argv).options(options).positional({}).run(), values);
        po::notify(values);
    } catch (const po::error& error) {
        std::cerr << "overlayd: " << error.what() << "\n";
        return 1;
    }
    if (values.count("help") != 0) {
        std::cout << "usage: overlayd [OPTIONS]\n\n"
                     "Carries gretap, GUE and WireGuard in user space, as overlayctl tells it to.\n\n"
                  << options;
        return 0;
    }
    if (values.count("version") != 0) {
        std::cout << "overlayd " << OVERLAY_VERSION << "\n";
        return 0;
    }
    return out;
}

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
    void soon() {
        if (std::exchange(is_soon_, true)) return;
        constexpr long in_a_moment = 20'000'000;   // ns: what happens together is kept together
        const itimerspec next{{2, 0}, {0, in_a_moment}};
        (void)::timerfd_settime(fd_.get(), 0, &next, nullptr);
    }

  private:
    std::function<void()> tick_;
    bool is_soon_ = false;
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

Result<void> run(Options& options) {
    for (const std::string& directory :
         {options.service.run_directory, options.service.state_directory}) {
        if (const auto made = io::make_directories(directory, 0755); !made) return made;
    }
    // One that is killed frees its lock and not its socket.
    const auto lock = io::FileLock::acquire(options.service.run_directory + "/overlayd.lock",
                                            std::chrono::seconds{1});
    if (!lock) return pass_on(lock);
    auto end = end_by_signal();
    if (!end) return pass_on(end);
    auto engine = datapath::Engine::make({});
    if (!engine) return pass_on(engine);
    Ticks ticks;
    Service service{**engine, options.service, [] { ask_to_end(0); }, [&] { ticks.soon(); }};
    const auto server =
        ControlServer::listen(options.service.run_directory, (*engine)->loop(),
                              [&](const control::Request& request) { return service.serve(request); });
    if (!server) return pass_on(server);
    const auto tick = [&] {
        service.on_time();
        (*server)->on_time();
    };
    if (const auto started = ticks.start((*engine)->loop(), tick); !started) return started;
    if (const auto resumed = service.resume(); !resumed) return resumed;
    options.was_ready = true;
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
    const bool is_over = !options.was_ready || kind == Error::Kind::Busy || kind == Error::Kind::Conflict;
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
    const auto lock = io::FileLock::acquire(control::supervisor_lock(directory), std::chrono::seconds{1});
    if (!lock) return complain(lock.error(), options.ready_fd);
    (void)std::signal(SIGINT, SIG_IGN);   // a terminal's goes to both
    for (;;) {
        const auto started = std::chrono::steady_clock::now();
        worker = ::fork();
        if (worker < 0) {
            const int code = complain(io::system_error("start a worker", errno), options.ready_fd);
            if (!options.was_ready || is_ending != 0) return code;
            std::this_thread::sleep_for(longest);
            continue;
        }
        if (worker == 0) {
            (void)std::signal(SIGTERM, SIG_DFL);   // its own comes later
            ::_exit(work(options));
        }
        if (options.ready_fd >= 0) ::close(std::exchange(options.ready_fd, -1));
        (void)std::signal(SIGTERM, end_worker);
        int status = 0;
        while (::waitpid(worker, &status, 0) < 0 && errno == EINTR) {}
        worker = -1;
        if (WIFEXITED(status) && WEXITSTATUS(status) != try_again) return WEXITSTATUS(status);
        if (WIFSIGNALED(status))
            std::cerr << "overlayd: the worker died of signal " << WTERMSIG(status) << "; another one starts\n";
        options.was_ready = true;   // whoever waited for the first one knows what became of it
        const bool was_young = std::chrono::steady_clock::now() - started < longest;
        if (!was_young) pause = std::chrono::milliseconds{0};
        std::this_thread::sleep_for(pause);
        if (is_ending != 0) return 0;
        if (was_young) pause = std::min(2 * pause + std::chrono::milliseconds{5}, longest);
    }
}

int main(int argc, char** argv) {
    auto read = read_options(argc, argv);
    if (const int* code = std::get_if<int>(&read)) return *code;
    Options& options = std::get<Options>(read);
    if (options.supervise) return supervise(options);
    const auto ran = run(options);
    return ran ? 0 : complain(ran.error(), options.ready_fd);
}

}  // namespace

}  // namespace overlay::overlayd

int main(int argc, char** argv) { return overlay::overlayd::main(argc, argv); }
