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

enum class Type : int { float32, float64, bfloat16, int8 };

// Bits of a bfloat16, the upper half of a float.
struct bfloat16 {
  uint16_t bits;
};

// Threads of the caller's that work for the core instead of its own.
struct Executor {
  // Calls task(context, i), which throws nothing, once for each i in 0..n_tasks-1, in any order and
  // on any threads, and returns when all are done. May throw.
  void (*run)(void* runner, int64_t n_tasks, void (*task)(void* context, int64_t index),
              void* context);
  void* runner;
};

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
  const Executor* executor = nullptr;  // null: the core's own threads

  int64_t n_leaves() const { return int64_t{1} << depth; }
  int64_t n_nodes() const { return n_leaves() - 1; }
  int64_t n_rows() const { return n_nodes() + n_leaves() * leaf_size; }  // R
  int64_t n_slots() const { return depth + leaf_size; }                  // S
  int64_t first_slot() const { return node_output ? 0 : depth; }  // the first slot that adds to y
};

// Rows of weights, those of a tree after those of the tree before it. A row's values are its
// numbers times its scale, if there are scales.
struct Rows {
  const void* data;
  Type type;
  int64_t rows_per_tree;
  const float* scale;  // (K, rows_per_tree), or null for ones
};

// What a layer computes with. Where activations are float64, so is everything; else the bias is
// float32 and rows are float32, bfloat16 or int8. With leaves of 8 int8 rows or more, what these and
// output rows are multiplied with may be rounded to 16 bits, relative to a token's largest number;
// a token that holds NaN or infinity then gets NaN.
struct Weights {
  Rows nodes;        // input rows of nodes, H columns
  Rows leaves;       // input rows of leaves, H columns
  Rows out;          // output rows of nodes, then leaves, O columns
  const void* bias;  // (K, R)
};

// Weight gradients, float64 where activations are, else float32; rows that no token visited are set
// to 0. A null pointer means that the gradient is not wanted.
struct Gradients {
  void* x;      // (T, H), of the activations' type
  void* w_in;   // (K, R, H)
  void* b_in;   // (K, R)
  void* w_out;  // (K, R, O)
};

// Throws std::invalid_argument unless every size is in range and every array fits the address
// space.
void validate(const Shape& shape);

// Throws std::invalid_argument unless activations of this type can be computed with these weights.
void validate(Type activations, const Weights& weights);

// x (T, H) -> y (T, O), and unless null leaf (T, K) and logits (T, K, S). x and y are of type
// `activations`: float32, float64 or bfloat16. Logits are float64 for float64, else float32.
void forward(const Shape& shape, Type activations, const Weights& weights, const void* x, void* y,
             int64_t* leaf, void* logits);

// grad_y (T, O) and what `forward` read and wrote -> gradients. Rows of weights must be float32 (or
// float64) without scales. Throws std::invalid_argument for a leaf out of range.
void backward(const Shape& shape, Type activations, const Weights& weights, const void* grad_y,
              const void* x, const int64_t* leaf, const void* logits, const Gradients& gradients);

// The instruction set in use, chosen at the first call: the best one of this processor, or the one
// named by the environment variable ULTRAFASTBERT_ISA. Throws std::invalid_argument if that names
// none of available_instruction_sets().
const std::string& instruction_set();

// The instruction sets that were compiled in and that this processor has, best first.
std::vector<std::string> available_instruction_sets();

}  // namespace fff
