#pragma once
// Pages of programs and libraries that only the start needed. They count as resident until somebody says otherwise.

namespace overlay::io {

/// Unmaps this process's pages of files that it has not changed; what is needed again is mapped again, from the page
/// cache, by the fault that it costs. Linux proc(5), smaps; madvise(2), MADV_DONTNEED.
void let_go_of_file_pages();

}  // namespace overlay::io
