// What is unmapped comes back from the file: right for what the file has, and the end of what it has not.

#include "daemon/io/files.hpp"
#include "daemon/io/own_pages.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace overlay;

namespace {

/// A page of a file with "f" in it, "m" in its place in memory, and read-only since: as relocated constants are.
class Page {
  public:
    Page() {
        std::string path = "/tmp/overlay-pages-XXXXXX";
        const io::UniqueFd file{::mkstemp(path.data())};
        REQUIRE(file);
        ::unlink(path.c_str());
        REQUIRE(::write(file.get(), "f", 1) == 1);
        REQUIRE(::ftruncate(file.get(), bytes()) == 0);
        at_ = ::mmap(nullptr, static_cast<std::size_t>(bytes()), PROT_READ | PROT_WRITE, MAP_PRIVATE, file.get(), 0);
        REQUIRE(at_ != MAP_FAILED);
        *static_cast<volatile char*>(at_) = 'm';
        REQUIRE(::mprotect(at_, static_cast<std::size_t>(bytes()), PROT_READ) == 0);
    }
    Page(const Page&) = delete;
    Page& operator=(const Page&) = delete;
    ~Page() { ::munmap(at_, static_cast<std::size_t>(bytes())); }

    [[nodiscard]] char content() const { return *static_cast<volatile const char*>(at_); }

    /// After letting go, where the kernel tells this of the page, as Linux 6.1 words it.
    char content_after(std::string_view permissions, int anonymous_kib, int swapped_kib) const {
        std::string path = "/tmp/overlay-smaps-XXXXXX";
        const io::UniqueFd file{::mkstemp(path.data())};
        REQUIRE(file);
        const auto start = reinterpret_cast<std::uintptr_t>(at_);
        std::ofstream{path} << fmt::format("{:x}-{:x} {} 00000000 08:01 1234    /usr/lib/with a space.so\n"
                                           "Size:                  4 kB\nReferenced:            4 kB\n"
                                           "Anonymous:      {:8} kB\nLazyFree:              0 kB\n"
                                           "Swap:           {:8} kB\nSwapPss:        {:8} kB\n"
                                           "Locked:                0 kB\nVmFlags: rd mr mw me\n",
                                           start, start + static_cast<std::uintptr_t>(bytes()), permissions,
                                           anonymous_kib, swapped_kib, swapped_kib);
        io::let_go_of_file_pages(path);
        ::unlink(path.c_str());
        return content();
    }

  private:
    static long bytes() { return ::sysconf(_SC_PAGESIZE); }
    void* at_ = nullptr;
};

}  // namespace

TEST_SUITE("own pages") {

    TEST_CASE("what the kernel calls unchanged is let go") { CHECK(Page{}.content_after("r--p", 0, 0) == 'f'); }

    TEST_CASE("what was changed stays, in memory or in swap") {
        CHECK(Page{}.content_after("r--p", 4, 0) == 'm');
        CHECK(Page{}.content_after("r--p", 0, 4) == 'm');
    }

    TEST_CASE("what can be changed stays") { CHECK(Page{}.content_after("rw-p", 0, 0) == 'm'); }

    TEST_CASE("what is changed in this process is seen") {
        const Page page;
        io::let_go_of_file_pages();
        CHECK(page.content() == 'm');
    }
}
