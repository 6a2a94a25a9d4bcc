// The Python module ultrafastbert_runtime._native_bench: what benchmarks compare the core with. The product
// does not load it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <vector>

#include "binding/address.h"
#include "blas_layer.h"
#include "machine.h"

namespace nb = nanobind;
using namespace binding;

namespace {

template <class Function>
void set_routine(Function*& routine, Address address) {
  check_given("a BLAS routine", address);
  routine = pointer<Function>(address);
}

// routines: sdot, saxpy, sgemv, sger, sgemm; sizes: K, D, L, H, O
void blas_forward(const std::vector<Address>& routines, int level, const std::vector<int>& sizes,
                  int n_tokens, Address x, Address w_in, Address b_in, Address w_out, Address y,
                  Address leaf) {
  fff::BlasRoutines blas;
  set_routine(blas.sdot, routines.at(0));
  set_routine(blas.saxpy, routines.at(1));
  set_routine(blas.sgemv, routines.at(2));
  set_routine(blas.sger, routines.at(3));
  set_routine(blas.sgemm, routines.at(4));
  const fff::BlasLayer layer{sizes.at(0),
                             sizes.at(1),
                             sizes.at(2),
                             sizes.at(3),
                             sizes.at(4),
                             pointer<const float>(w_in),
                             pointer<const float>(b_in),
                             pointer<const float>(w_out)};
  nb::gil_scoped_release release;
  fff::blas_forward(blas, level, layer, n_tokens, pointer<const float>(x), pointer<float>(y),
                    pointer<int64_t>(leaf));
}

}  // namespace

NB_MODULE(_native_bench, m) {
  m.def("blas_forward", blas_forward, nb::arg("routines"), nb::arg("level"), nb::arg("sizes"),
        nb::arg("n_tokens"), nb::arg("x"), nb::arg("w_in"), nb::arg("b_in"), nb::arg("w_out"),
        nb::arg("y"), nb::arg("leaf"));
  using nogil = nb::call_guard<nb::gil_scoped_release>;
  m.def("fma_rate", fff::fma_rate, nb::arg("seconds"), nogil());
  m.def("read_rate", fff::read_rate, nb::arg("n_bytes"), nb::arg("seconds"), nogil());
  m.def("write_rate", fff::write_rate, nb::arg("n_bytes"), nb::arg("seconds"), nogil());
}
