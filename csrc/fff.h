// The fast feedforward (FFF) layer on CPUs: forward and backward, free of PyTorch and Python.
//
// A tree of depth D has 2^D - 1 nodes (rows in heap order) followed by 2^D leaves of `leaf_size`
// rows each. A token visits the D nodes of one root-to-leaf path, going right iff the node's logit
// is > 0 (0 and NaN go left), and then all rows of the leaf reached. The D + leaf_size rows visited
// are called slots. Trees are summed.
//
// Results are bitwise the same for any number of threads, and a token's y, leaf, logits and grad_x
// do not depend on the other tokens of the call.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fff {

enum class Activation : int { gelu, gelu_pytorch_tanh, relu, silu, tanh, linear };

struct Shape {
  int64_t n_tokens;     // T
  int64_t hidden_size;  // H
  int64_t output_size;  // O
  int64_t n_trees;      // K
  int64_t depth;        // D
  int64_t leaf_size;    // L
  Activation activation;
  bool node_output;  // false: nodes only route
  int n_threads;

  int64_t n_leaves() const { return int64_t{1} << depth; }
  int64_t n_nodes() const { return n_leaves() - 1; }
  int64_t n_rows() const { return n_nodes() + n_leaves() * leaf_size; }  // R
  int64_t n_slots() const { return depth + leaf_size; }                  // S
  int64_t first_slot() const { return node_output ? 0 : depth; }  // the first slot that adds to y
};

// Weight gradients of rows that no token visited are set to 0. A null pointer means that the
// gradient is not wanted.
template <class T>
struct Gradients {
  T* x;      // (T, H)
  T* w_in;   // (K, R, H)
  T* b_in;   // (K, R)
  T* w_out;  // (K, R, O)
};

// Throws std::invalid_argument unless every size is in range and every array fits the address
// space.
void validate(const Shape& shape);

// x (T, H), w_in (K, R, H), b_in (K, R), w_out (K, R, O) -> y (T, O), leaf (T, K), logits (T, K,
// S). T is float or double.
template <class T>
void forward(const Shape& shape, const T* x, const T* w_in, const T* b_in, const T* w_out, T* y,
             int64_t* leaf, T* logits);

// grad_y (T, O) and what `forward` read and wrote -> gradients. Throws std::invalid_argument for a
// leaf out of range.
template <class T>
void backward(const Shape& shape, const T* grad_y, const T* x, const T* w_in, const T* w_out,
              const int64_t* leaf, const T* logits, const Gradients<T>& gradients);

// The instruction set in use, chosen at the first call: the best one of this processor, or the one
// named by the environment variable ULTRAFASTBERT_ISA. Throws std::invalid_argument if that names
// none of available_instruction_sets().
const std::string& instruction_set();

// The instruction sets that were compiled in and that this processor has, best first.
std::vector<std::string> available_instruction_sets();

}  // namespace fff
