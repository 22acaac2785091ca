#pragma once
// The verbs. Each takes what stands behind its name on the command line and returns the exit code.

#include <string>
#include <vector>

namespace overlay {

using Arguments = std::vector<std::string>;

int run_apply(const Arguments& arguments);
int run_diff(const Arguments& arguments);
int run_doctor(const Arguments& arguments);
int run_down(const Arguments& arguments);
int run_explain(const Arguments& arguments);
int run_keygen(const Arguments& arguments);
int run_lab(const Arguments& arguments);
int run_pubkey(const Arguments& arguments);
int run_render(const Arguments& arguments);
int run_snapshot(const Arguments& arguments);
int run_status(const Arguments& arguments);
int run_validate(const Arguments& arguments);

}  // namespace overlay
