#include "walk.h"

#include <algorithm>

#include "blocks.h"

namespace fff {
namespace {

// Tokens that share no nodes go on together in such groups: their rows of x stay in the L1 cache
//, while each waits for its next row.
constexpr int32_t tokens_apart = 8;
// A leaf block may be larger than the L2 cache.
constexpr int64_t most_prefetched_bytes = int64_t{256} << 10;

}  // namespace

template <class C>
Walk<C>::Walk(const Tree<C>& tree, Type activations, const Weights& weights, const void* x,
              int64_t level, int32_t* order, int32_t n, int32_t* node, C* z, Integers integers,
              Scratch& scratch, Prefetcher& prefetcher)
    : tree_(tree),
      shape_(tree.shape),
      x_(x),
      node_dots_(kernels<C>().dots(activations, weights.nodes.type)),
      leaf_dots_(kernels<C>().dots(activations, weights.leaves.type)),
      leaves_are_nodes_(shape_.leaf_size == 1 && weights.nodes.type == weights.leaves.type),
      integers_(integers),
      level_(level),
      order_(order),
      sorted_(scratch.take<int32_t>(n)),
      node_(node),
      n_(n),
      z_(z),
      products_(scratch.take<C>(n * std::max<int64_t>(3, shape_.leaf_size))),
      side_(scratch.take<uint8_t>(n)),
      groups_(scratch.take<Group>(n)),
      next_(scratch.take<Group>(n)),
      prefetcher_(prefetcher) {
  for (int32_t begin = 0, end; begin < n; begin = end) {
    const int32_t place = node[order[begin]];
    for (end = begin + 1; end < n && node[order[end]] == place; ++end) {
    }
    groups_[n_groups_++] = {place, begin, end};
  }
}

template <class C>
void Walk<C>::descend_to(int64_t level) {
  const int64_t last = level == shape_.depth && leaves_are_nodes_ ? level + 1 : level;
  while (level_ < level) {
    if (n_ > 1 && n_ < 2 * n_groups_) {
      descend_apart(last);
      level_ = last;
      break;
    }
    const bool with_children = level_ + 1 < last;
    n_groups_ = step(groups_, n_groups_, level_, with_children, next_);
    std::swap(groups_, next_);
    level_ += with_children ? 2 : 1;
  }
  in_leaves_ = level_ > shape_.depth;
}

template <class C>
void Walk<C>::descend_apart(int64_t last) {
  in_pairs_ = false;
  int32_t n_done = 0;
  for (int32_t first = 0, end; first < n_groups_; first = end) {
    for (end = first + 1;
         end < n_groups_ && groups_[end].end - groups_[first].begin <= tokens_apart; ++end) {
    }
    Scratch scratch;
    const int32_t n_tokens = groups_[end - 1].end - groups_[first].begin;
    Group *groups = scratch.take<Group>(n_tokens), *next = scratch.take<Group>(n_tokens);
    int32_t n = end - first;
    std::copy_n(groups_ + first, n, groups);
    for (int64_t level = level_; level < std::min(last, shape_.depth); ++level) {
      // The last node with its leaves, where they are rows like it.
      const bool with_children = level + 1 == shape_.depth && last > shape_.depth;
      n = step(groups, n, level, with_children, next);
      std::swap(groups, next);
    }
    std::copy_n(groups, n, next_ + n_done);
    n_done += n;
  }
  std::swap(groups_, next_);
  n_groups_ = n_done;
}

template <class C>
void Walk<C>::multiply(const Group& group, const void* const* rows, int64_t n_rows,
                       typename Kernels<C>::DotsFunction dots) {
  dots({x_, shape_.hidden_size, order_ + group.begin, group.end - group.begin, rows, 0, n_rows,
        products_, n_rows},
       prefetcher_);
}

template <class C>
int32_t Walk<C>::step(const Group* groups, int32_t n, int64_t level, bool with_children,
                      Group* next) {
  int32_t n_next = 0;
  for (const Group* group = groups; group != groups + n; ++group) {
    const void* rows[3] = {tree_.nodes.row(group->place)};
    if (with_children) {
      rows[1] = tree_.in_row(2 * group->place + 1);
      rows[2] = tree_.in_row(2 * group->place + 2);
    }
    multiply(*group, rows, with_children ? 3 : 1, node_dots_);
    n_next += decide(*group, level, with_children, next + n_next);
  }
  return n_next;
}

template <class C>
int32_t Walk<C>::decide(const Group& group, int64_t level, bool with_children, Group* next) {
  const int64_t n_slots = shape_.n_slots(), child = 2 * int64_t{group.place} + 1;
  const bool children_decide = with_children && level + 1 < shape_.depth;
  C scale[3], bias[3];
  for (int r = 0; r < (with_children ? 3 : 1); ++r) {
    const int64_t row = r == 0 ? group.place : child + r - 1;
    scale[r] = tree_.in_scale(row);
    bias[r] = tree_.bias[row];
  }
  const C* product = products_;
  for (int32_t i = group.begin; i < group.end; ++i) {
    const int32_t t = order_[i];
    C* z = z_ + t * n_slots + level;
    z[0] = product[0] * scale[0] + bias[0];
    int side = z[0] > 0;
    int32_t place = static_cast<int32_t>(child + side);
    if (with_children) {
      z[1] = product[1 + side] * scale[1 + side] + bias[1 + side];
      if (children_decide) {
        const int right = z[1] > 0;
        side = 2 * side + right;
        place = 2 * place + 1 + right;
      }
    }
    node_[t] = place;
    side_[i] = static_cast<uint8_t>(side);
    product += with_children ? 3 : 1;
  }
  return split(group, level, children_decide ? 4 : 2, with_children, next);
}

template <class C>
int32_t Walk<C>::split(const Group& group, int64_t level, int n_parts, bool with_children,
                       Group* next) {
  int32_t start[5] = {};
  for (int32_t i = group.begin; i < group.end; ++i) ++start[side_[i] + 1];
  for (int p = 0; p < n_parts; ++p) start[p + 1] += start[p];
  const int64_t first = n_parts == 4 ? 4 * int64_t{group.place} + 3 : 2 * int64_t{group.place} + 1;
  const bool in_leaf = with_children && n_parts == 2;
  int32_t n_next = 0;
  for (int p = 0; p < n_parts; ++p) {
    if (start[p] == start[p + 1]) continue;
    const int64_t place = first + p;
    next[n_next++] = {static_cast<int32_t>(place), group.begin + start[p],
                      group.begin + start[p + 1]};
    prefetch(place, level + (with_children ? 2 : 1), in_leaf);
  }
  if (group.end - group.begin == 1) return n_next;
  int32_t* to = sorted_ + group.begin;
  for (int32_t i = group.begin; i < group.end; ++i) to[start[side_[i]]++] = order_[i];
  std::copy(to, to + (group.end - group.begin), order_ + group.begin);
  return n_next;
}

// Prefetches what tokens that have come to a place on a level need next.
template <class C>
void Walk<C>::prefetch(int64_t place, int64_t level, bool in_leaf) {
  if (!prefetcher_.enabled) return;
  const int64_t row = tree_.first_row(place);
  if (level < shape_.depth) {
    prefetch_row(tree_.nodes.row(row), tree_.nodes.row_bytes);
    const int64_t below = tree_.first_row(2 * place + 1);
    if (in_pairs_ || (leaves_are_nodes_ && level + 1 == shape_.depth))
      prefetch_row(tree_.in_row(below), 2 * tree_.in_row_bytes(below));
  } else if (!in_leaf) {
    prefetch_row(tree_.in_row(row), shape_.leaf_size * tree_.leaves.row_bytes);
  }
  if (n_ > 1 || level <= top_levels) return;
  // The output rows of a token alone, but for those that many tokens share and caches hold.
  if (level >= shape_.depth)
    prefetch_row(tree_.out.row(row), shape_.leaf_size * tree_.out.row_bytes);
  prefetch_row(tree_.out.row((place + 1) / 2 - 1), tree_.out.row_bytes);
  prefetch_row(tree_.out.row((place + 1) / 4 - 1), tree_.out.row_bytes);
}

// A token alone has nothing else to multiply meanwhile: its rows are asked for at once.
template <class C>
void Walk<C>::prefetch_row(const void* row, int64_t bytes) {
  if (n_ > 1) return prefetcher_.push(row, bytes);
  for (int64_t i = 0; i < std::min(bytes, most_prefetched_bytes); i += 64)
    FFF_PREFETCH(static_cast<const char*>(row) + i);
}

template <class C>
void Walk<C>::multiply_leaf(const Group& group) {
  const int64_t n_rows = shape_.leaf_size;
  const int64_t leaf_row = tree_.first_row(group.place) - shape_.n_nodes();
  Scratch scratch;
  const void** rows = scratch.take<const void*>(n_rows);
  for (int64_t r = 0; r < n_rows; ++r) rows[r] = tree_.leaves.row(leaf_row + r);
  if (!integers_.number) return multiply(group, rows, n_rows, leaf_dots_);
  kernels<C>().integer_dots({integers_.number, shape_.hidden_size, order_ + group.begin,
                             group.end - group.begin, rows, 0, n_rows, products_, n_rows},
                            prefetcher_);
}

template <class C>
void Walk<C>::enter_leaves() {
  if (in_leaves_) return;
  in_leaves_ = true;
  const int64_t n_rows = shape_.leaf_size, n_slots = shape_.n_slots();
  for (const Group* group = groups_; group != groups_ + n_groups_; ++group) {
    multiply_leaf(*group);
    const int64_t first = tree_.first_row(group->place);
    const float* row_scale =
        tree_.leaves.scale ? tree_.leaves.scale + first - shape_.n_nodes() : nullptr;
    const C* product = products_;
    const C* bias = tree_.bias + first;
    for (int32_t i = group->begin; i < group->end; ++i, product += n_rows) {
      C* z = z_ + order_[i] * n_slots + shape_.depth;
      const float scale = integers_.number ? integers_.scale[order_[i]] : 1.0f;
      if (row_scale)
        for (int64_t r = 0; r < n_rows; ++r) z[r] = product[r] * (scale * row_scale[r]) + bias[r];
      else
        for (int64_t r = 0; r < n_rows; ++r) z[r] = product[r] + bias[r];
    }
  }
}

template class Walk<float>;
template class Walk<double>;

}  // namespace fff
