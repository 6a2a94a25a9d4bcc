// The inner loops, compiled once per instruction set: what fff.cpp calls through a table of
// functions.
#pragma once

#include <cstdint>

#include "fff.h"

namespace fff {

// `n` tokens of a block in the order in which to visit them: numbers of rows of the block's arrays.
struct Tokens {
  const int64_t* order;
  int64_t n;
};

// Walks tokens through the steps first_step..last_step-1 of one tree: step l < D computes the logit
// of the node at level l and moves on to its child, step D computes the logits of the leaf's rows.
// node[t] is the place of token t in heap order.
template <class T>
struct Route {
  const Shape* shape;
  const T* x;     // (block, H)
  const T* w_in;  // (R, H)
  const T* b_in;  // (R)
  int64_t first_step;
  int64_t last_step;
  int64_t* node;  // (block)
  T* logits;      // (block, S)
};

// Both products of tokens with the rows on their paths, over slots first_slot()..S-1.
template <class T>
struct PathProduct {
  const Shape* shape;
  const T* weight;      // (R, C)
  int64_t n_columns;    // C
  const int64_t* node;  // (block) the leaves in heap order
};

// The sum over tokens, sorted by leaf, of coefficient * source row, into the rows on their paths.
template <class T>
struct RowSums {
  const Shape* shape;
  const int64_t* token;  // (T) tokens sorted by leaf
  const int64_t* leaf;   // (T) their leaves
  const T* coefficient;  // (T, S), by token
  const T* source;       // (T, C), by token
  int64_t n_columns;     // C
  int64_t first_column;  // the columns first_column..first_column + column_block - 1 are computed
  bool stream;           // write around the cache where possible
  T* sums;               // (R, C); rows not on any path are left alone
};

template <class T>
struct Kernels {
  void (*route)(const Route<T>& route, Tokens tokens);
  // z (n) -> act(z) and, unless slope is null, act'(z)
  void (*activate)(Activation activation, int64_t n, const T* z, T* value, T* slope);
  // out[t, s] = weight[row of slot s] . source[t]
  void (*path_dots)(const PathProduct<T>& product, Tokens tokens, const T* source, T* out);
  // out[t] (+)= sum over s of coefficient[t, s] * weight[row of slot s]
  void (*path_sums)(const PathProduct<T>& product, Tokens tokens, const T* coefficient, bool add,
                    T* out);
  void (*row_sums)(const RowSums<T>& sums);
  int64_t column_block;
};

// The table of the instruction set in use.
template <class T>
const Kernels<T>& kernels();

}  // namespace fff
