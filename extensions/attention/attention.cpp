// Attention of few tokens: softmax(q k^T / sqrt(D)) v and its gradient, a head of a sample at a time and all of it in a
// core's cache. Rows of q, k and v may lie apart, so that they are read from, and their gradients written to, the one
// tensor that they are projected into.
#include <cmath>
#include <vector>

#include "csrc/arguments.h"
#include "csrc/parallel.h"
#include "csrc/simd.h"

namespace point_ops {
namespace {

constexpr int64_t WIDEST = 16;  // lanes of any machine: rows of weights are a multiple of it

struct Rows {
  const float* first;
  int64_t step;  // floats from one row to the next
};

// Tokens of a head are rows; every length but D is any number, D is a multiple of the lanes.
struct Sizes {
  int64_t B, Q, T, H, D, q_step, kv_step;

  int64_t padded() const { return (T + WIDEST - 1) / WIDEST * WIDEST; }
  bool are_fit() const {
    return are_sizes(B, Q, T, H, D, q_step, kv_step) && D % WIDEST == 0 && q_step >= H * D && kv_step >= H * D;
  }
  double cost(int64_t products) const { return double(B) * H * Q * T * D * products / 16; }
};

struct Scratch {
  std::vector<float> columns, slopes;
};

// head(b, h, scratch) for all heads. Those of a sample lie side by side in memory, so one thread does them all where
// there are samples enough.
template <class Head>
bool for_each_head(const Sizes& s, int64_t num_products, int num_threads, Head head) {
  const int64_t heads = s.B >= 4 * num_threads ? s.H : 1;
  return run_tasks<Scratch, run_in_products_threads>(s.B * s.H / heads, s.cost(num_products), num_threads,
                                                     [=](int64_t task, Scratch& scratch) {
    for (int64_t at = task * heads; at < (task + 1) * heads; at++) head(at / s.H, at % s.H, scratch);
  });
}

// R rows and V vectors of `to` = a b, summed in registers; a(i, l) = a[i * a_row + l * a_column].
template <int R, int V>
void tile(float* to, int64_t to_step, const float* a, int64_t a_row, int64_t a_column, Rows b, int64_t length) {
  Floats sum[R][V] = {};
  for (int64_t l = 0; l < length; l++) {
    Floats row[V];
    for (int v = 0; v < V; v++) row[v] = load(b.first + l * b.step + v * LANES);
    for (int r = 0; r < R; r++) {
      const Floats factor = splat(a[r * a_row + l * a_column]);
      for (int v = 0; v < V; v++) sum[r][v] = multiply_add(factor, row[v], sum[r][v]);
    }
  }
  for (int r = 0; r < R; r++) {
    for (int v = 0; v < V; v++) store(to + r * to_step + v * LANES, sum[r][v]);
  }
}

template <int V>
void strip(float* to, int64_t to_step, const float* a, int64_t a_row, int64_t a_column, Rows b, int64_t count,
           int64_t length) {
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) tile<4, V>(to + i * to_step, to_step, a + i * a_row, a_row, a_column, b, length);
  for (; i + 2 <= count; i += 2) tile<2, V>(to + i * to_step, to_step, a + i * a_row, a_row, a_column, b, length);
  for (; i < count; i++) tile<1, V>(to + i * to_step, to_step, a + i * a_row, a_row, a_column, b, length);
}

// to (count, width) = a (count, length) b (length, width); width is a multiple of the lanes.
void product(float* to, int64_t to_step, const float* a, int64_t a_row, int64_t a_column, Rows b, int64_t count,
             int64_t length, int64_t width) {
  int64_t c = 0;
  for (; c + 4 * LANES <= width; c += 4 * LANES) {
    strip<4>(to + c, to_step, a, a_row, a_column, {b.first + c, b.step}, count, length);
  }
  for (; c + 2 * LANES <= width; c += 2 * LANES) {
    strip<2>(to + c, to_step, a, a_row, a_column, {b.first + c, b.step}, count, length);
  }
  for (; c < width; c += LANES) strip<1>(to + c, to_step, a, a_row, a_column, {b.first + c, b.step}, count, length);
}

// rows (T, D) -> to (D, padded), with zeros behind the rows.
void transpose(Rows rows, int64_t T, int64_t D, int64_t padded, float* to) {
  int64_t t = 0;
  for (; t + 4 <= T; t += 4) {
    for (int64_t d = 0; d < D; d += 4) {
      const float* from = rows.first + t * rows.step + d;
      transpose_4x4(from, rows.step, to + d * padded + t, padded);
    }
  }
  for (int64_t d = 0; d < D; d++) {
    float* column = to + d * padded;
    for (int64_t rest = t; rest < padded; rest++) column[rest] = rest < T ? rows.first[rest * rows.step + d] : 0;
  }
}

// row (padded) of logits -> weights, 0 behind the T of them.
void softmax(float* row, int64_t T, int64_t padded, float scale) {
  Floats most = splat(-INFINITY);
  for (int64_t t = 0; t < padded; t += LANES) {
    const Floats value = load(row + t), kept = lane_numbers() < int32_t(T - t) ? value : splat(-INFINITY);
    if (t + LANES > T) store(row + t, kept);
    most = larger(most, kept);
  }
  const Floats shift = splat(largest(most) * scale);
  Floats sum{};
  for (int64_t t = 0; t < padded; t += LANES) {
    const Floats value = exponential(load(row + t) * scale - shift);
    store(row + t, value);
    sum += value;
  }
  const Floats share = splat(1 / total(sum));
  for (int64_t t = 0; t < padded; t += LANES) store(row + t, load(row + t) * share);
}

// Gradient of the weights -> gradient of the logits, both (padded).
void softmax_backward(const float* weights, float* grad, int64_t padded, float scale) {
  Floats sum{};
  for (int64_t t = 0; t < padded; t += LANES) sum = multiply_add(load(weights + t), load(grad + t), sum);
  const float mean = total(sum);
  for (int64_t t = 0; t < padded; t += LANES) store(grad + t, load(weights + t) * (load(grad + t) - mean) * scale);
}

}  // namespace
}  // namespace point_ops

using namespace point_ops;

// q (B, Q, H, D), k and v (B, T, H, D) with q_step and kv_step floats between rows -> weights (B, H, Q, padded T) and
// out (B, Q, H, D).
EXPORT int point_ops_attention(const float* q, const float* k, const float* v, int64_t B, int64_t Q, int64_t T,
                               int64_t H, int64_t D, int64_t q_step, int64_t kv_step, float* weights, float* out,
                               int num_threads) {
  const Sizes s{B, Q, T, H, D, q_step, kv_step};
  if (!s.are_fit() || num_threads < 1) return BAD_ARGUMENT;
  if (B * Q * H * D == 0) return DONE;
  if (T == 0 || !are_given(q, k, v, weights, out)) return BAD_ARGUMENT;
  const int64_t padded = s.padded();
  const float scale = 1 / std::sqrt(float(D));
  const bool is_well = for_each_head(s, 2, num_threads, [=](int64_t b, int64_t h, Scratch& scratch) {
    scratch.columns.resize(D * padded);
    transpose({k + b * T * kv_step + h * D, kv_step}, T, D, padded, scratch.columns.data());
    float* own = weights + (b * H + h) * Q * padded;
    product(own, padded, q + b * Q * q_step + h * D, q_step, 1, {scratch.columns.data(), padded}, Q, D, padded);
    for (int64_t i = 0; i < Q; i++) softmax(own + i * padded, T, padded, scale);
    product(out + (b * Q * H + h) * D, H * D, own, padded, 1, {v + b * T * kv_step + h * D, kv_step}, Q, T, D);
  });
  return is_well ? DONE : OUT_OF_MEMORY;
}

// grad (B, Q, H, D) of out, the rest as above -> gradients of q, k and v, with the steps of those.
EXPORT int point_ops_attention_backward(const float* grad, const float* q, const float* k, const float* v,
                                        const float* weights, int64_t B, int64_t Q, int64_t T, int64_t H, int64_t D,
                                        int64_t q_step, int64_t kv_step, float* grad_q, float* grad_k, float* grad_v,
                                        int num_threads) {
  const Sizes s{B, Q, T, H, D, q_step, kv_step};
  if (!s.are_fit() || num_threads < 1) return BAD_ARGUMENT;
  if (B * H * D == 0 || (Q == 0 && T == 0)) return DONE;
  const bool has_queries = Q == 0 || are_given(grad, q, weights, grad_q);
  if (T == 0 || !has_queries || !are_given(k, v, grad_k, grad_v)) return BAD_ARGUMENT;
  const int64_t padded = s.padded();
  const float scale = 1 / std::sqrt(float(D));
  const bool is_well = for_each_head(s, 4, num_threads, [=](int64_t b, int64_t h, Scratch& scratch) {
    const int64_t at_q = b * Q * q_step + h * D, at_kv = b * T * kv_step + h * D;
    scratch.columns.resize(D * padded);
    scratch.slopes.resize(Q * padded);
    const float* own = weights + (b * H + h) * Q * padded;
    const float* grad_own = grad + (b * Q * H + h) * D;
    float* slopes = scratch.slopes.data();
    transpose({v + at_kv, kv_step}, T, D, padded, scratch.columns.data());
    product(slopes, padded, grad_own, H * D, 1, {scratch.columns.data(), padded}, Q, D, padded);
    for (int64_t i = 0; i < Q; i++) softmax_backward(own + i * padded, slopes + i * padded, padded, scale);
    product(grad_q + at_q, q_step, slopes, padded, 1, {k + at_kv, kv_step}, Q, T, D);
    product(grad_k + at_kv, kv_step, slopes, 1, padded, {q + at_q, q_step}, T, Q, D);
    product(grad_v + at_kv, kv_step, own, 1, padded, {grad_own, H * D}, T, Q, D);
  });
  return is_well ? DONE : OUT_OF_MEMORY;
}
