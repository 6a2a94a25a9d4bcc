// The layer written with the routines of a public BLAS, as arXiv 2311.10770 times it: what the
// kernels are compared with. Forward, one thread, exact GELU; free of PyTorch and of any BLAS: the
// routines come as addresses.
#pragma once

#include <cstdint>

namespace fff {

// Fortran's calling convention with 32-bit integers; matrices lie by columns.
struct BlasRoutines {
  float (*sdot)(const int* n, const float* x, const int* inc_x, const float* y, const int* inc_y);
  void (*saxpy)(const int* n, const float* alpha, const float* x, const int* inc_x, float* y,
                const int* inc_y);
  void (*sgemv)(const char* trans, const int* m, const int* n, const float* alpha, const float* a,
                const int* lda, const float* x, const int* inc_x, const float* beta, float* y,
                const int* inc_y);
  void (*sger)(const int* m, const int* n, const float* alpha, const float* x, const int* inc_x,
               const float* y, const int* inc_y, float* a, const int* lda);
  void (*sgemm)(const char* trans_a, const char* trans_b, const int* m, const int* n, const int* k,
                const float* alpha, const float* a, const int* lda, const float* b, const int* ldb,
                const float* beta, float* c, const int* ldc);
};

// A layer and its weights in the order of fff.h; depth 0 with one tree is a dense layer.
struct BlasLayer {
  int n_trees;         // K
  int depth;           // D
  int leaf_size;       // L
  int hidden_size;     // H
  int output_size;     // O
  const float* w_in;   // (K, R, H)
  const float* b_in;   // (K, R)
  const float* w_out;  // (K, R, O)
};

// x (T, H) -> y (T, O), leaf (T, K).
// Level 1: token by token, sdot for each neuron visited and saxpy for its row of w_out.
// Level 2: node by node, for all tokens that reach it: their copies times its row of w_in by sgemv,
//   their outputs by sger; a leaf of one neuron likewise, a block of several token by token, by
//   sgemv.
// Level 3: as level 2, but a leaf's block for all tokens that reach it, by sgemm.
// A dense layer is one block, hence plain sdot and saxpy, sgemv per token, or sgemm.
// Throws std::invalid_argument for another level.
void blas_forward(const BlasRoutines& blas, int level, const BlasLayer& layer, int n_tokens,
                  const float* x, float* y, int64_t* leaf);

}  // namespace fff
