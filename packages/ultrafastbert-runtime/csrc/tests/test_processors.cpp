// Limits of control groups, in folders that look like /proc and /sys.
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "onnx/processors.h"

namespace {

namespace fs = std::filesystem;

int n_failures = 0;

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

// Compares the limit that the files of a folder give, and removes them.
void expect_limit(const fs::path& root, double expected, const char* what) {
  const double found = onnx_operator::cgroup_limit(root.string());
  fs::remove_all(root);
  if (found == expected) return;
  std::printf("FAILED: %s: %g\n", what, found);
  ++n_failures;
}

}  // namespace

int main() {
  const fs::path root = fs::temp_directory_path() / ("cgroups" + std::to_string(std::random_device{}()));
  const fs::path groups = root / "sys/fs/cgroup", own = root / "proc/self/cgroup";
  expect_limit(root, INFINITY, "no control groups");

  write(own, "0::/\n");
  write(groups / "cpu.max", "150000 100000\n");
  expect_limit(root, 1.5, "version 2, in a container");

  write(own, "0::/a/b\n");
  write(groups / "a/b/cpu.max", "max 100000\n");
  write(groups / "a/cpu.max", "300000 100000\n");
  expect_limit(root, 3, "version 2, a group around that of the process");

  write(own, "0::/a\n");
  write(groups / "a/cpu.max", "max 100000\n");
  expect_limit(root, INFINITY, "version 2, no limit");

  write(own, "5:cpuset:/c\n4:cpu,cpuacct:/docker/id\n0::/\n");
  write(groups / "cpu/cpu.cfs_quota_us", "50000\n");
  write(groups / "cpu/cpu.cfs_period_us", "100000\n");
  expect_limit(root, 0.5, "version 1, the group's path is that outside of the container");

  write(own, "4:cpu:/c\n");
  write(groups / "cpu/c/cpu.cfs_quota_us", "-1\n");
  write(groups / "cpu/c/cpu.cfs_period_us", "100000\n");
  expect_limit(root, INFINITY, "version 1, no limit");

  write(own, "nonsense\n0::\n:::\n0::relative\n");
  expect_limit(root, INFINITY, "lines of another form");

  if (onnx_operator::n_processors() < 1) ++n_failures;
  std::printf("%d processors, %d failures\n", onnx_operator::n_processors(), n_failures);
  return n_failures > 0;
}
