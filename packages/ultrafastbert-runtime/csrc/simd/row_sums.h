// Sums of tokens into the rows on their paths: the gradients of weights.
#pragma once

#include "vectors.h"

namespace fff {
namespace FFF_NAMESPACE {

// Tokens that are added together: the columns of them that it adds at a time fit the L1 cache
//.
constexpr int64_t tokens_per_chunk = 32;

// One chunk of tokens: where their columns are, in the L1 cache from row to row.
template <class C, class X>
struct Chunk {
  static constexpr int64_t n_vectors = 8;
  static constexpr int64_t n_columns = n_vectors * Simd<C>::width;
  const X* source[tokens_per_chunk];
  const C* coefficient[tokens_per_chunk];
  int32_t leaf[tokens_per_chunk];
};

// How the sum over a run of tokens, which share a row, gets into that row.
enum class Write { add, store, stream };

template <class C>
inline void write(Write how, C* p, typename Simd<C>::Vector v, int64_t n) {
  using S = Simd<C>;
  if (n < S::width)
    store_part<C>(p, how == Write::add ? S::add(load_part<C>(p, n), v) : v, n);
  else if (how == Write::stream)
    S::stream(p, v);
  else
    S::store(p, how == Write::add ? S::add(S::load(p), v) : v);
}

// Sums tokens begin..end-1 of a chunk, times their coefficients of n_rows slots, into columns of as
// many rows. The last vector has n_last elements.
template <class C, class X, int n_rows, int n_vectors, bool partial>
inline void sum_run(const Chunk<C, X>& chunk, int64_t begin, int64_t end, int64_t slot,
                    int64_t offset, int64_t n_last, const Write* how, C* const* rows) {
  using S = Simd<C>;
  typename S::Vector sum[n_rows][n_vectors];
  FFF_UNROLL
  for (int r = 0; r < n_rows; ++r) {
    FFF_UNROLL
    for (int v = 0; v < n_vectors; ++v) sum[r][v] = S::zero();
  }
  for (int64_t i = begin; i < end; ++i) {
    const X* from = chunk.source[i] + offset;
    typename S::Vector factor[n_rows];
    FFF_UNROLL
    for (int r = 0; r < n_rows; ++r) factor[r] = S::broadcast(chunk.coefficient[i][slot + r]);
    FFF_UNROLL
    for (int v = 0; v < n_vectors; ++v) {
      const auto source =
          S::keep(partial ? load_part<C>(from, n_last) : S::load(from + v * S::width));
      FFF_UNROLL
      for (int r = 0; r < n_rows; ++r) sum[r][v] = S::fma(factor[r], source, sum[r][v]);
    }
  }
  FFF_UNROLL
  for (int r = 0; r < n_rows; ++r) {
    FFF_UNROLL
    for (int v = 0; v < n_vectors; ++v)
      write(how[r], rows[r] + offset + v * S::width, sum[r][v],
            v + 1 < n_vectors ? S::width : n_last);
  }
}

template <class C, class X, int n_rows>
inline void sum_run_columns(const Chunk<C, X>& chunk, int64_t begin, int64_t end, int64_t slot,
                            int64_t n_columns, const Write* how, C* const* rows) {
  constexpr int64_t w = Simd<C>::width;
  // Several rows share each load, but no more than their sums fit the registers.
  constexpr int n_vectors = n_rows == 1 ? Chunk<C, X>::n_vectors : most_sums<C> / n_rows;
  int64_t c = 0;
  for (; c + n_vectors * w <= n_columns; c += n_vectors * w)
    sum_run<C, X, n_rows, n_vectors, false>(chunk, begin, end, slot, c, w, how, rows);
  for (; c + w <= n_columns; c += w)
    sum_run<C, X, n_rows, 1, false>(chunk, begin, end, slot, c, w, how, rows);
  if (c < n_columns)
    sum_run<C, X, n_rows, 1, true>(chunk, begin, end, slot, c, n_columns - c, how, rows);
}

// Finds columns of tokens first..first + n - 1, and prefetches those of the next chunk.
template <class C, class X>
void find(const RowSums<C>& sums, int64_t first, int64_t n, int64_t column, int64_t n_columns,
          Chunk<C, X>& chunk) {
  const X* source = static_cast<const X*>(sums.source) + column;
  const int64_t until = uses_prefetch() ? sums.shape->n_tokens - tokens_per_chunk : 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t t = sums.token[first + i];
    if (first + i < until) {
      const X* next = source + sums.token[first + i + tokens_per_chunk] * sums.n_columns;
      for (int64_t c = 0; c < n_columns; c += line_bytes / sizeof(X)) FFF_PREFETCH(next + c);
    }
    chunk.source[i] = source + t * sums.n_columns;
    chunk.coefficient[i] = sums.coefficient + t * sums.shape->n_slots();
    chunk.leaf[i] = sums.leaf[first + i];
  }
}

// Where the sums of one chunk go: the rows of a tree, in part begun by the chunk before.
template <class C, class X>
struct ChunkSums {
  const RowSums<C>& sums;
  const Chunk<C, X>& chunk;
  int64_t n;  // tokens
  int64_t column;
  int64_t n_columns;
  int64_t previous;      // leaf of the token before the chunk, -1 if none
  int64_t segment_leaf;  // leaf of the segment's first token
  bool stream;

  // Which node of a level, or which leaf, counted from the left, is on the path to a leaf.
  int64_t place(int64_t leaf, int64_t level) const { return leaf >> (sums.shape->depth - level); }

  bool is_shared(int64_t i, int64_t level) const {
    return level < sums.n_shared && place(chunk.leaf[i], level) == place(segment_leaf, level);
  }

  // How the sum of a run of tokens is written into its row on a level.
  Write how(int64_t begin, int64_t end, int64_t level) const {
    if (begin == 0 && previous >= 0 && place(previous, level) == place(chunk.leaf[begin], level))
      return Write::add;
    return stream && end < n && !is_shared(begin, level) ? Write::stream : Write::store;
  }

  // The row of a token's slot: of the node on a level, or one of its leaf.
  C* row(int64_t i, int64_t slot) const {
    const Shape& shape = *sums.shape;
    const int64_t level = smaller(slot, shape.depth);
    if (is_shared(i, level)) return sums.shared + slot * sums.n_columns + column;
    const int64_t at = place(chunk.leaf[i], level);
    const int64_t r = level < shape.depth
                          ? (int64_t{1} << level) - 1 + at
                          : shape.n_nodes() + at * shape.leaf_size + slot - shape.depth;
    return sums.sums + r * sums.n_columns + column;
  }

  // Sums a run of tokens into the rows of n_rows slots.
  template <int n_rows>
  void add_slots(int64_t begin, int64_t end, int64_t slot) const {
    C* rows[n_rows];
    Write how_rows[n_rows];
    for (int r = 0; r < n_rows; ++r) {
      rows[r] = row(begin, slot + r);
      how_rows[r] = how(begin, end, smaller(slot + r, sums.shape->depth));
    }
    sum_run_columns<C, X, n_rows>(chunk, begin, end, slot, n_columns, how_rows, rows);
  }

  void add() const {
    const int64_t depth = sums.shape->depth, n_slots = sums.shape->n_slots();
    const auto shared_by_chunk = [&](int64_t level) {
      return level < depth && place(chunk.leaf[0], level) == place(chunk.leaf[n - 1], level);
    };
    int64_t level = sums.shape->first_slot();
    for (; shared_by_chunk(level + tile_rows - 1); level += tile_rows)
      add_slots<tile_rows>(0, n, level);
    for (; level <= depth; ++level) {
      for (int64_t begin = 0, end; begin < n; begin = end) {
        const int64_t at = place(chunk.leaf[begin], level);
        for (end = begin + 1; end < n && place(chunk.leaf[end], level) == at; ++end) {
        }
        if (level < depth) {
          add_slots<1>(begin, end, level);
          continue;
        }
        int64_t slot = depth;
        for (; slot + tile_rows <= n_slots; slot += tile_rows)
          add_slots<tile_rows>(begin, end, slot);
        for (; slot < n_slots; ++slot) add_slots<1>(begin, end, slot);
      }
    }
  }
};

// Streaming stores need alignment, of the matrix and from row to row.
template <class C>
bool can_stream(const RowSums<C>& sums) {
  return reinterpret_cast<uintptr_t>(sums.sums) % line_bytes == 0 &&
         sums.n_columns * sizeof(C) % line_bytes == 0;
}

template <class C, class X>
void row_sums(const RowSums<C>& sums) {
  Chunk<C, X> chunk;
  const bool stream = sums.stream && can_stream(sums);
  for (int64_t i = sums.begin; i < sums.end; i += tokens_per_chunk) {
    const int64_t n = smaller(tokens_per_chunk, sums.end - i);
    const int64_t previous = i > sums.segment_begin ? sums.leaf[i - 1] : -1;
    for (int64_t c = 0; c < sums.n_columns; c += chunk.n_columns) {
      const int64_t n_columns = smaller(chunk.n_columns, sums.n_columns - c);
      find<C, X>(sums, i, n, c, n_columns, chunk);
      ChunkSums<C, X>{sums, chunk, n, c, n_columns, previous, sums.leaf[sums.segment_begin], stream}
          .add();
    }
  }
  Simd<C>::fence();
}

}  // namespace FFF_NAMESPACE
}  // namespace fff
