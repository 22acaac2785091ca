#pragma once
// What a running lab is, on disk: written before the first namespace is made and after each process
// is started, so that `lab down` finds everything, whatever happened in between.

#include "daemon/lab/lab_holder.hpp"
#include "daemon/lab/lab_plan.hpp"
#include "topology/result.hpp"

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace overlay::lab {

struct LabProcess {
    pid_t pid = 0;
    std::string host;
    std::string executable;   ///< what /proc/PID/exe must be before we end it
};

struct LabRecord {
    std::string network;
    bool complete = false;   ///< `lab up` came to its end
    bool applied = false;    ///< with the overlay, not the underlay alone
    std::string source;      ///< the file's bytes at `lab up`
    std::vector<std::string> namespaces;
    std::vector<LabProcess> processes;
    std::optional<LabHolder> holder;  ///< of a lab that was not made by root
};

class LabState {
  public:
    /// `root`: the directory of all labs, /run/overlay/lab unless told otherwise.
    LabState(const std::filesystem::path& root, const std::string& network)
        : directory_{std::filesystem::absolute(root) / network} {}

    [[nodiscard]] const std::filesystem::path& directory() const { return directory_; }
    [[nodiscard]] std::filesystem::path of_host(const std::string& host) const {
        return directory_ / host;
    }
    [[nodiscard]] std::filesystem::path keys() const { return directory_ / ".keys"; }

    /// nullopt: there is no lab. Errors: Failed when the record cannot be read.
    [[nodiscard]] Result<std::optional<LabRecord>> load() const;
    [[nodiscard]] Result<void> save(const LabRecord& record) const;
    [[nodiscard]] Result<void> remove() const;

  private:
    std::filesystem::path directory_;
};

}   // namespace overlay::lab
