#pragma once
// Memory that costs nothing until it is written to. The heap's costs what was written to it by whoever had it before,
// and a huge page (transparent_hugepage=always) costs two megabytes at the first byte.

#include <cstddef>
#include <new>

#include <sys/mman.h>

namespace overlay::io {

/// For containers with much room that is rarely needed: mmap(2), madvise(2).
template <class T>
struct FreshPages {
    using value_type = T;

    FreshPages() = default;
    template <class Other>
    FreshPages(const FreshPages<Other>&) {}   // NOLINT: as every allocator

    [[nodiscard]] T* allocate(std::size_t count) {
        void* const pages =
            ::mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pages == MAP_FAILED) throw std::bad_alloc{};
        (void)::madvise(pages, count * sizeof(T), MADV_NOHUGEPAGE);
        return static_cast<T*>(pages);
    }
    void deallocate(T* pages, std::size_t count) { (void)::munmap(pages, count * sizeof(T)); }

    friend bool operator==(const FreshPages&, const FreshPages&) { return true; }
};

}  // namespace overlay::io
