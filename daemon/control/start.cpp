// Starting overlayd when none runs, as wg-quick does with a userspace implementation, and ending it.

#include "daemon/control/client.hpp"

#include "daemon/io/files.hpp"
#include "daemon/io/held_signals.hpp"
#include "daemon/io/process.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace overlay::control {

namespace {

constexpr int ready_fd = 3;
constexpr int patience_ms = 20000;
constexpr int last_moment_ms = 500;   // of each process
constexpr std::string_view ready_word = "ready\n";

/// Beside us, as in a build tree or a package; else execvp looks along the PATH.
std::string program() {
    std::array<char, 4096> self{};
    const ssize_t size = ::readlink("/proc/self/exe", self.data(), self.size() - 1);
    if (size <= 0) return "overlayd";
    const std::string beside =
        io::directory_of({self.data(), static_cast<std::size_t>(size)}) + "/overlayd";
    return ::access(beside.c_str(), X_OK) == 0 ? beside : "overlayd";
}

struct Spawn {
    std::vector<std::string> words;
    std::string log;
    int ready;
};

/// In the grandchild: never returns.
[[noreturn]] void become(const Spawn& spawn) {
    io::release_all_signals();   // apply holds those that would end it
    (void)::setsid();
    const int null = ::open("/dev/null", O_RDONLY);
    const int log = ::open(spawn.log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    // The pipe's end may be any number: away from 0 to 3 first.
    const int ready = ::fcntl(spawn.ready, F_DUPFD, 10);
    const bool set = null >= 0 && log >= 0 && ready >= 0 && ::dup2(null, 0) == 0 &&
                     ::dup2(log, 1) == 1 && ::dup2(log, 2) == 2 && ::dup2(ready, ready_fd) == ready_fd;
    if (!set) ::_exit(126);
    ::close_range(ready_fd + 1, ~0U, 0);
    std::vector<char*> words;
    for (const std::string& word : spawn.words) words.push_back(const_cast<char*>(word.c_str()));   // NOLINT
    words.push_back(nullptr);
    ::execvp(words.front(), words.data());
    const std::string why = fmt::format("run {}: {}\n", spawn.words.front(), std::strerror(errno));
    (void)!::write(ready_fd, why.data(), why.size());
    ::_exit(127);
}

/// What it says before it closes its end, or what was said until our patience ended.
std::string first_words(int fd) {
    std::string out;
    std::array<char, 512> buffer{};
    pollfd waiting{fd, POLLIN, 0};
    while (::poll(&waiting, 1, patience_ms) > 0) {
        const ssize_t size = ::read(fd, buffer.data(), buffer.size());
        if (size <= 0) return out;
        out.append(buffer.data(), static_cast<std::size_t>(size));
        if (out == ready_word) return out;
    }
    return out.empty() ? "it did not say that it is ready\n" : out;
}

Result<void> wait_until_free(const std::string& lock) {
    constexpr std::chrono::milliseconds between_tries{5};
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds{patience_ms};
    while (io::FileLock::is_held(lock)) {
        if (std::chrono::steady_clock::now() > deadline) {
            const std::string id = io::FileLock::holder_id(lock);
            return fail(Error{Error::Kind::Failed, "stop overlayd", fmt::format("it does not end (pid {})", id), 0,
                              fmt::format("kill -CONT {0} if it is stopped, or kill -KILL {0}", id)});
        }
        std::this_thread::sleep_for(between_tries);
    }
    return {};
}

}  // namespace

Result<void> start_overlayd(const std::string& run_directory, const std::string& state_directory) {
    if (const auto made = io::make_directories(run_directory, 0755); !made) return made;
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail(io::system_error("make a pipe", errno));
    const netlink::UniqueFd from_child{ends[0]};
    netlink::UniqueFd to_parent{ends[1]};
    const Spawn spawn{{program(), "--supervise", "--run-dir", run_directory, "--state-dir", state_directory,
                       "--ready-fd", std::to_string(ready_fd)},
                      run_directory + "/overlayd.log",
                      to_parent.get()};
    const pid_t child = ::fork();
    if (child < 0) return fail(io::system_error("start overlayd", errno));
    if (child == 0) {   // its own child belongs to nobody who must wait for it
        const pid_t grandchild = ::fork();
        if (grandchild == 0) become(spawn);
        ::_exit(grandchild < 0 ? 126 : 0);
    }
    to_parent = netlink::UniqueFd{};
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    std::string words = first_words(from_child.get());
    if (words == ready_word) return {};
    while (!words.empty() && words.back() == '\n') words.pop_back();
    Error error{Error::Kind::Failed, "start overlayd", words.empty() ? "it ended at once" : words, 0,
                "its log: " + spawn.log};
    if (words.starts_with("run ")) error.hint = "overlayd is installed beside overlayctl";
    return fail(std::move(error));
}

Result<void> stop_overlayd(const std::string& run_directory) {
    auto client = Client::connect(run_directory);
    if (!client && client.error().kind == Error::Kind::NotFound) return {};
    if (!client) return pass_on(client);
    const std::array locks{worker_lock(run_directory), supervisor_lock(run_directory)};
    const std::array<netlink::UniqueFd, 2> processes{io::FileLock::holder(locks[0]), io::FileLock::holder(locks[1])};
    if (const auto asked = client->ask({"stop", "", ""}); !asked) return pass_on(asked);
    if (const auto ended = client->wait_for_end(); !ended) return ended;
    for (const std::string& lock : locks) {   // it hangs up before it closes its devices
        if (const auto freed = wait_until_free(lock); !freed) return freed;
    }
    // A process that has given back its lock is all but gone. Its number proves nothing: see FileLock::holder().
    for (const netlink::UniqueFd& each : processes) {
        if (each) (void)io::ends_within(each, last_moment_ms);
    }
    return {};
}

}  // namespace overlay::control
