// The processors that this process may use.
#pragma once

#include <string>

namespace onnx_operator {

// Those it may run on, or fewer where a control group limits its time to that of fewer; at least 1.
int n_processors();

// How many processors' time the control groups of this process may take (Linux, both versions of
// control groups), infinity without a limit. root: where /proc and /sys are.
double cgroup_limit(const std::string& root);

}  // namespace onnx_operator
