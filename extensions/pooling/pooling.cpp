// The maximum over each patch's points of a linear map, and its gradient. One point a channel has a gradient, so the
// backward pass is K times less arithmetic than the two matrix products that it would be.
#include <algorithm>
#include <vector>

#include "csrc/arguments.h"
#include "csrc/parallel.h"
#include "csrc/simd.h"

namespace point_ops {
namespace {

constexpr int WIDTH = 8 * LANES;         // floats that are summed in registers at a time
constexpr int64_t CACHED = 1 << 18;      // floats that stay in a core's cache while all channels read them

struct Channels {
  std::vector<int64_t> first, order;  // channels sorted by their point; first[k] is where those of point k begin
};

// One patch: y (K, C) -> best (C), where (C). NaN is larger than anything; the first of equals wins.
void find_maximum(const float* y, int64_t K, int64_t C, float* best, int32_t* where) {
  int64_t c = 0;
  for (; c + LANES <= C; c += LANES) {
    Floats most = load(y + c);
    Ints place{};
    for (int64_t k = 1; k < K; k++) {
      const Floats value = load(y + k * C + c);
      const Ints is_more = ((value > most) | (value != value)) & (most == most);
      most = is_more ? value : most;
      place = is_more ? Ints{} + int32_t(k) : place;
    }
    store(best + c, most);
    std::memcpy(where + c, &place, sizeof place);
  }
  for (; c < C; c++) {
    best[c] = y[c], where[c] = 0;
    for (int64_t k = 1; k < K; k++) {
      const float value = y[k * C + c];
      if ((value > best[c] || value != value) && best[c] == best[c]) best[c] = value, where[c] = int32_t(k);
    }
  }
}

// to (D) += sum over i of factors(i) * rows(i) (D), summed in registers.
template <class Factor, class Row>
void add_rows(float* to, int64_t D, int64_t count, Factor factor, Row row) {
  int64_t d = 0;
  for (; d + WIDTH <= D; d += WIDTH) {
    Floats sum[8];
    for (int part = 0; part < 8; part++) sum[part] = load(to + d + part * LANES);
    for (int64_t i = 0; i < count; i++) {
      const Floats scale = splat(factor(i));
      const float* from = row(i) + d;
      for (int part = 0; part < 8; part++) sum[part] += scale * load(from + part * LANES);
    }
    for (int part = 0; part < 8; part++) store(to + d + part * LANES, sum[part]);
  }
  for (int64_t i = 0; i < count; i++) {
    const float scale = factor(i);
    const float* from = row(i);
    for (int64_t rest = d; rest < D; rest++) to[rest] += scale * from[rest];
  }
}

void sort_by_point(const int32_t* where, int64_t K, int64_t C, Channels& channels) {
  channels.first.assign(K + 1, 0);
  channels.order.resize(C);
  for (int64_t c = 0; c < C; c++) channels.first[where[c] + 1]++;
  for (int64_t k = 0; k < K; k++) channels.first[k + 1] += channels.first[k];
  std::vector<int64_t>& next = channels.first;
  for (int64_t c = 0; c < C; c++) channels.order[next[where[c]]++] = c;
  for (int64_t k = K; k > 0; k--) next[k] = next[k - 1];  // the counters have moved one place on
  next[0] = 0;
}

bool are_inside(const int32_t* where, int64_t count, int64_t K) {
  bool is_inside = true;
  for (int64_t i = 0; i < count; i++) is_inside &= uint32_t(where[i]) < uint32_t(K);
  return is_inside;
}

bool fill_grad_x(const float* grad, const int32_t* where, const float* x, const float* weight, int64_t P, int64_t K,
                 int64_t C, int64_t D, bool is_rectified, float* grad_x, int num_threads) {
  return run_tasks<Channels, run_in_products_threads>(P, double(P) * C * D / 4, num_threads,
                                                      [=](int64_t p, Channels& channels) {
    sort_by_point(where + p * C, K, C, channels);
    std::fill_n(grad_x + p * K * D, K * D, 0.f);
    for (int64_t k = 0; k < K; k++) {
      const int64_t* own = channels.order.data() + channels.first[k];
      float* to = grad_x + (p * K + k) * D;
      add_rows(to, D, channels.first[k + 1] - channels.first[k],
               [=](int64_t i) { return grad[p * C + own[i]]; }, [=](int64_t i) { return weight + own[i] * D; });
      const float* value = x + (p * K + k) * D;
      for (int64_t d = 0; is_rectified && d < D; d++) to[d] = value[d] > 0 ? to[d] : 0;
    }
  });
}

// A task has its own channels and goes through the patches in order, so the sums do not depend on the threads. Each task
// reads all of x, so there are no more of them than threads.
bool fill_grad_weight(const float* grad, const int32_t* where, const float* x, int64_t P, int64_t K, int64_t C,
                      int64_t D, float* grad_weight, int num_threads) {
  const int64_t part = parts_of(C, num_threads), num_parts = parts_of(C, part);
  return run_tasks<Nothing, run_in_products_threads>(num_parts, double(P) * C * D / 4, num_threads,
                                                     [=](int64_t task, Nothing&) {
    const int64_t first = task * part, last = std::min(C, first + part);
    std::fill_n(grad_weight + first * D, (last - first) * D, 0.f);
    const int64_t block = std::max<int64_t>(1, CACHED / (K * D));
    for (int64_t p = 0; p < P; p += block) {
      for (int64_t c = first; c < last; c++) {
        add_rows(grad_weight + c * D, D, std::min(block, P - p),
                 [=](int64_t i) { return grad[(p + i) * C + c]; },
                 [=](int64_t i) { return x + ((p + i) * K + where[(p + i) * C + c]) * D; });
      }
    }
  });
}

}  // namespace
}  // namespace point_ops

using namespace point_ops;

// y (P, K, C) -> best (P, C), where (P, C).
EXPORT int point_ops_patch_max(const float* y, int64_t P, int64_t K, int64_t C, float* best, int32_t* where,
                               int num_threads) {
  if (!are_sizes(P, K, C) || K > MAX_POINTS || num_threads < 1) return BAD_ARGUMENT;
  if (P == 0 || C == 0) return DONE;
  if (K == 0 || !are_given(y, best, where)) return BAD_ARGUMENT;
  return guarded([=] {
    const double cost = double(P) * K * C / 4;
    return run_tasks<Nothing, run_in_products_threads>(P, cost, num_threads, [=](int64_t p, Nothing&) {
      find_maximum(y + p * K * C, K, C, best + p * C, where + p * C);
    });
  });
}

// grad (P, C), where (P, C), x (P, K, D), weight (C, D) -> grad_x (P, K, D), grad_weight (C, D). If x is the output of a
// ReLU, grad_x is the gradient of that one's input. One of the two is empty with P or K or C or D: the other is zero.
EXPORT int point_ops_linear_max_backward(const float* grad, const int32_t* where, const float* x, const float* weight,
                                         int64_t P, int64_t K, int64_t C, int64_t D, int64_t is_rectified,
                                         float* grad_x, float* grad_weight, int num_threads) {
  if (!are_sizes(P, K, C, D) || K > MAX_POINTS || num_threads < 1) return BAD_ARGUMENT;
  if (D == 0) return DONE;  // both are empty
  if (P == 0 || K == 0 || C == 0) {
    const int64_t size_x = P * K * D, size_weight = C * D;
    if ((size_x && !grad_x) || (size_weight && !grad_weight)) return BAD_ARGUMENT;
    std::fill_n(grad_x, size_x, 0.f);
    std::fill_n(grad_weight, size_weight, 0.f);
    return DONE;
  }
  if (!are_given(grad, where, x, weight, grad_x, grad_weight) || !are_inside(where, P * C, K)) return BAD_ARGUMENT;
  return guarded([=] {
    return fill_grad_x(grad, where, x, weight, P, K, C, D, is_rectified != 0, grad_x, num_threads) &&
           fill_grad_weight(grad, where, x, P, K, C, D, grad_weight, num_threads);
  });
}
