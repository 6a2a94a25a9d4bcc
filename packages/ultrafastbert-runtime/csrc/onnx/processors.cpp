#include "processors.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif

namespace onnx_operator {
namespace {

constexpr double unlimited = std::numeric_limits<double>::infinity();

int affinity() {
#ifdef __linux__
  cpu_set_t sets[8];  // 8,192 processors
  if (sched_getaffinity(0, sizeof sets, sets) == 0) return CPU_COUNT_S(sizeof sets, sets);
#endif
  return static_cast<int>(std::thread::hardware_concurrency());  // 0 if unknown
}

double limit_of(double quota, double period) {
  return quota > 0 && period > 0 ? quota / period : unlimited;
}

// Version 2: "max 100000", or microseconds of quota and period.
double limit_v2(const std::string& group) {
  double quota = 0, period = 0;
  std::ifstream(group + "/cpu.max") >> quota >> period;
  return limit_of(quota, period);
}

// Version 1: a quota of -1 is none.
double limit_v1(const std::string& group) {
  double quota = 0, period = 0;
  std::ifstream(group + "/cpu.cfs_quota_us") >> quota;
  std::ifstream(group + "/cpu.cfs_period_us") >> period;
  return limit_of(quota, period);
}

// The least limit of a group and those that it is in. Inside a container the group's path may be
// that outside, where only the last of them, the mount itself, exists.
template <class Limit>
double least(const std::string& mount, std::string path, Limit limit) {
  double found = limit(mount);
  while (path.size() > 1) {
    found = std::min(found, limit(mount + path));
    path.resize(path.rfind('/'));
  }
  return found;
}

}  // namespace

double cgroup_limit(const std::string& root) {
  double found = unlimited;
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // number:controllers:path
    std::istringstream fields(line);
    std::string number, controllers, path;
    std::getline(std::getline(std::getline(fields, number, ':'), controllers, ':'), path);
    if (path.empty() || path[0] != '/') continue;
    if (controllers.empty())
      found = std::min(found, least(root + "/sys/fs/cgroup", path, limit_v2));
    else if (("," + controllers + ",").find(",cpu,") != std::string::npos)
      found = std::min(found, least(root + "/sys/fs/cgroup/cpu", path, limit_v1));
  }
  return found;
}

int n_processors() {
  const double limit = std::ceil(cgroup_limit(""));
  return static_cast<int>(std::max(1.0, std::min<double>(affinity(), limit)));
}

}  // namespace onnx_operator
