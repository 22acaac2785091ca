// overlayd's options: from the command line, from a file, and what is wrong with either.

#include "daemon/overlayd/options.hpp"
#include "topology/result.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>

using namespace overlay;
using overlayd::Options;

namespace {

/// A file of options that is gone after the test.
class File {
  public:
    explicit File(const std::string& content) {
        const int fd = ::mkstemp(path_.data());
        REQUIRE(fd >= 0);
        ::close(fd);
        std::ofstream{path_} << content;
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File() { (void)std::remove(path_.c_str()); }
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    std::string path_ = "/tmp/overlayd-options.XXXXXX";
};

Result<Options> read_options(const std::vector<std::string>& words) {
    Options out;
    const auto read = overlayd::read_options(words, out);
    if (!read) return pass_on(read);
    return out;
}

std::string complaint(const std::vector<std::string>& words) {
    const auto read = read_options(words);
    return read ? "" : text(read.error());
}

}  // namespace

TEST_SUITE("overlayd's options") {

    TEST_CASE("a file sets what the command line does not") {
        const File file{"# what this router does without\n\noffload = udp-gro,device-tso\nrun-dir=/run/other\n"
                        "memory = small\nthreads = 3\n"};
        const auto read = read_options({"--config", file.path(), "--state-dir", "/var/other"});
        REQUIRE(read);
        CHECK(read->offloads == *io::Offloads::parse("device-tso,udp-gro"));
        CHECK(read->memory.frame_bytes == datapath::small_memory.frame_bytes);
        CHECK(read->threads == 3);
        CHECK(read->service.run_directory == "/run/other");
        CHECK(read->service.state_directory == "/var/other");
        CHECK(read->service.uapi_directory == "/var/run/wireguard");
        CHECK_FALSE(read->supervise);

        const auto stated = read_options({"--config", file.path(), "--offload", "none", "--run-dir=/run/mine",
                                          "--memory", "default", "--threads", "64"});
        REQUIRE(stated);
        CHECK(stated->offloads == io::Offloads::none());
        CHECK(stated->memory.frame_bytes == datapath::default_memory.frame_bytes);
        CHECK(stated->threads == 64);
        CHECK(stated->service.run_directory == "/run/mine");
    }

    TEST_CASE("a mistake in the file is told with its line") {
        const auto told = [](const std::string& content, std::string_view part) {
            const File file{content};
            const std::string complained = complaint({"--config", file.path()});
            CAPTURE(complained);
            CHECK(complained.find(part) != std::string::npos);
            CHECK(complained.find(file.path()) != std::string::npos);
        };
        told("\noffload = fast\n", "line 2: \"fast\" is neither");
        told("memory = little\n", "line 1: \"little\" is neither default nor small");
        for (const std::string word : {"0", "65", "-1", "1.0", "two", "+2", "99999999999"})
            told("threads = " + word + "\n", "line 1: \"" + word + "\" is no number from 1 to 64");
        told("ofload = none\n", "line 1: unrecognised option 'ofload'");
        told("# a\n# b\nnone\n", "line 3: ");
        told("[overlayd]\noffload = none\n", "line 1: there are no sections");
        told("offload = none\noffload = auto\n", "'offload' cannot be specified more than once");
        told("supervise = true\n", "line 1: unrecognised option 'supervise'");
        told("deld\ninvalid_line %invalid_line%\n", "line 1: ");
        told("\n%invalid_line% of its own mark\n", "line 2: unknown, incomplete, or said twice");
    }

    TEST_CASE("a mistake on the command line is told with its option") {
        CHECK(complaint({"--offload", "fast"}).find("--offload: \"fast\" is neither") != std::string::npos);
        CHECK(complaint({"--memory", "1M"}).find("--memory: \"1M\" is neither") != std::string::npos);
        CHECK(complaint({"--ofload", "none"}).find("'--ofload'") != std::string::npos);
        CHECK(complaint({"--%canonical_option%", "x"}).find("unknown, incomplete") != std::string::npos);
        CHECK(complaint({"--config", "/nonexistent/file"}).find("/nonexistent/file") != std::string::npos);
    }

    TEST_CASE("whom to tell of a mistake in the file is known") {
        const File broken{"offload = fast\n"};
        Options out;
        CHECK_FALSE(overlayd::read_options({"--ready-fd", "7", "--config", broken.path()}, out));
        CHECK(out.ready_fd == 7);
    }

    TEST_CASE("help and version are told whatever the file says") {
        const File broken{"offload = fast\n"};
        const auto helped = read_options({"--help", "--config", broken.path()});
        REQUIRE(helped);
        CHECK(helped->help.find("--offload WORDS") != std::string::npos);
        const auto asked = read_options({"--version", "--config", broken.path()});
        REQUIRE(asked);
        CHECK(asked->version);
    }

}  // TEST_SUITE
