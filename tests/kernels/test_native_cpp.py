"""The native core's own C++ test: on this processor, under sanitizers, and on an emulated Arm."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from packaging_files import RUNTIME

INSTRUCTION_SETS = ["portable", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "neon"]
# Debian's packages, and the programs of which one is needed.
PROGRAMS = {
    "cmake": ["cmake"],
    "ninja-build": ["ninja"],
    "g++": [os.environ.get("CXX", "c++"), "g++", "clang++"],
    "g++-aarch64-linux-gnu": ["aarch64-linux-gnu-g++"],
    "qemu-user": ["qemu-aarch64", "qemu-aarch64-static"],
}
SANITIZERS = ["-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
SKIPPED = 77  # test_fff's exit code where the processor lacks the instruction set


def find(*packages: str) -> list[str]:
    """Return the path of a program of each package; skip the test if one has none."""
    found = {p: next(filter(None, map(shutil.which, PROGRAMS[p])), "") for p in packages}
    missing = [f"{PROGRAMS[p][0]} (Debian package {p})" for p in packages if not found[p]]
    if missing:
        pytest.skip("not installed: " + ", ".join(missing))
    return list(found.values())


def run(command: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **env}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)


def build(folder: Path, compiler: str, *options: str) -> str:
    """Build the test and return its path."""
    cmake, _ = find("cmake", "ninja-build")
    options += ("-G", "Ninja", "-DULTRAFASTBERT_BUILD_TESTS=ON", f"-DCMAKE_CXX_COMPILER={compiler}")
    for command in (
        [cmake, "-S", str(RUNTIME), "-B", str(folder), *options],
        [cmake, "--build", str(folder)],
    ):
        done = run(command)
        assert done.returncode == 0, done.stdout + done.stderr
    return str(folder / "test_fff")


@pytest.fixture(scope="session")
def native_test(tmp_path_factory) -> str:
    _, _, compiler = find("cmake", "ninja-build", "g++")
    return build(tmp_path_factory.mktemp("native"), compiler, "-DCMAKE_BUILD_TYPE=Release")


@pytest.fixture(scope="session")
def sanitized_test(tmp_path_factory) -> str:
    _, _, compiler = find("cmake", "ninja-build", "g++")
    folder = tmp_path_factory.mktemp("sanitized")
    probe = folder / "probe.cpp"
    probe.write_text("int main() {}\n")
    program = str(folder / "probe")
    compiled = run([compiler, *SANITIZERS, str(probe), "-o", program])
    if compiled.returncode or run([program]).returncode:
        pytest.skip(f"{compiler} has no address and undefined behaviour sanitizers that run here")
    # -O1 once more at the end, since the kernels' own flags ask for -O3: twice as long to compile.
    rule = "<CMAKE_CXX_COMPILER> <DEFINES> <INCLUDES> <FLAGS> -O1 -o <OBJECT> -c <SOURCE>"
    flags = f"-DCMAKE_CXX_FLAGS={' '.join(SANITIZERS)}"
    none = "-DCMAKE_BUILD_TYPE=None"
    return build(folder, compiler, none, flags, f"-DCMAKE_CXX_COMPILE_OBJECT={rule}")


@pytest.fixture(scope="session")
def arm_test(tmp_path_factory) -> list[str]:
    _, _, compiler, emulator = find("cmake", "ninja-build", "g++-aarch64-linux-gnu", "qemu-user")
    program = build(
        tmp_path_factory.mktemp("arm"),
        compiler,
        "-DCMAKE_BUILD_TYPE=Release",
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        "-DCMAKE_EXE_LINKER_FLAGS=-static",  # the emulator then needs no Arm libraries
    )
    return [emulator, program]


def check(done: subprocess.CompletedProcess[str], instruction_set: str) -> None:
    output = done.stdout + done.stderr
    assert (done.returncode, output) == (0, f"{instruction_set}: 0 failures\n"), output


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTRUCTION_SETS)
@pytest.mark.parametrize("program", ["native_test", "sanitized_test"])
def test_on_this_processor(request, program, name):
    done = run([request.getfixturevalue(program)], ULTRAFASTBERT_ISA=name)
    if done.returncode == SKIPPED:
        pytest.skip(f"{name} is not an instruction set of this processor")
    check(done, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["neon", "portable"])
def test_on_an_emulated_arm(arm_test, name):
    check(run(arm_test, ULTRAFASTBERT_ISA=name), name)
