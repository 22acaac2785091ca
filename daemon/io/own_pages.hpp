#pragma once
// Pages of programs and libraries that only the start needed. They count as resident until somebody says otherwise.

#include <string>

namespace overlay::io {

/// Unmaps this process's pages of files that it has not changed; what is needed again is mapped again, from the page
/// cache, by the fault that it costs. Linux proc(5), smaps; madvise(2), MADV_DONTNEED. Does nothing where the kernel
/// has no smaps (CONFIG_PROC_PAGE_MONITOR).
void let_go_of_file_pages(const std::string& smaps = "/proc/self/smaps");

}  // namespace overlay::io
