// The one or three nearest points of many queries, for small clouds: queries lie in the lanes, points go past them.
#include <algorithm>
#include <limits>
#include <vector>

#include "parallel.h"
#include "simd.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace point_ops {
namespace {

constexpr int BLOCK = 4 * LANES;  // queries a task at least

struct Nothing {};

struct Lanes {
  Floats x, y, z;

  // The queries first..first+LANES-1 of `count`; the last one fills up the rest.
  Lanes(const float* queries, int64_t first, int64_t count) {
    for (int lane = 0; lane < LANES; lane++) {
      const float* query = queries + 3 * std::min(first + lane, count - 1);
      x[lane] = query[0], y[lane] = query[1], z[lane] = query[2];
    }
  }

  Floats distance(const float* point) const {
    return squared(splat(point[0]) - x, splat(point[1]) - y, splat(point[2]) - z);
  }
};

// The first of equals, since later points must be strictly nearer.
void nearest_one(const float* queries, int64_t num_queries, int64_t first, const float* points, int num_points,
                 float* distances, int64_t* indices) {
  const Lanes lanes(queries, first, num_queries);
  Floats best = splat(std::numeric_limits<float>::infinity());
  Ints where{};
  for (int i = 0; i < num_points; i++) {
    const Floats distance = lanes.distance(points + 3 * int64_t(i));
    const Ints is_nearer = distance < best;
    best = is_nearer ? distance : best;
    where = is_nearer ? Ints{} + i : where;
  }
  for (int lane = 0; lane < std::min<int64_t>(LANES, num_queries - first); lane++) {
    distances[first + lane] = best[lane];
    indices[first + lane] = where[lane];
  }
}

void nearest_three(const float* queries, int64_t num_queries, int64_t first, const float* points, int num_points,
                   float* distances, int64_t* indices) {
  const Lanes lanes(queries, first, num_queries);
  // Compared as integers, which have the same order and one value above infinity, for a place that is still empty.
  Ints best[3], where[3];
  for (int rank = 0; rank < 3; rank++) {
    best[rank] = Ints{} + std::numeric_limits<int32_t>::max();
    where[rank] = Ints{};
  }
  for (int i = 0; i < num_points; i++) {
    const Ints distance = (Ints)lanes.distance(points + 3 * int64_t(i));
    const Ints index = Ints{} + i;
    const Ints is_nearer[3] = {distance < best[0], distance < best[1], distance < best[2]};
    for (int rank = 2; rank >= 0; rank--) {  // what is pushed out of a place goes to the next
      const Ints is_pushed = rank > 0 ? is_nearer[rank - 1] : Ints{};
      const int before = rank > 0 ? rank - 1 : 0;
      best[rank] = is_pushed ? best[before] : is_nearer[rank] ? distance : best[rank];
      where[rank] = is_pushed ? where[before] : is_nearer[rank] ? index : where[rank];
    }
  }
  for (int lane = 0; lane < std::min<int64_t>(LANES, num_queries - first); lane++) {
    for (int rank = 0; rank < 3; rank++) {
      distances[3 * (first + lane) + rank] = ((Floats)best[rank])[lane];
      indices[3 * (first + lane) + rank] = where[rank][lane];
    }
  }
}

template <int COUNT>
bool search(const float* queries, const float* points, int64_t B, int64_t Q, int64_t N, float* distances,
            int64_t* indices, int num_threads) {
  const int64_t num_parts = (Q + BLOCK - 1) / BLOCK;
  return run_tasks<Nothing>(B * num_parts, double(B) * Q * N, num_threads, [=](int64_t task, Nothing&) {
    const int64_t b = task / num_parts, part = task % num_parts * BLOCK;
    for (int64_t first = part; first < std::min(Q, part + BLOCK); first += LANES) {
      (COUNT == 1 ? nearest_one : nearest_three)(queries + 3 * b * Q, Q, first, points + 3 * b * N, int(N),
                                                 distances + COUNT * b * Q, indices + COUNT * b * Q);
    }
  });
}

}  // namespace
}  // namespace point_ops

using namespace point_ops;

// a (B, N, 3), b (B, M, 3) -> squared distance (B, N) and index (B, N) of the nearest in b.
EXPORT bool point_ops_nearest(const float* a, const float* b, int64_t B, int64_t N, int64_t M, float* distances,
                              int64_t* indices, int num_threads) {
  return search<1>(a, b, B, N, M, distances, indices, num_threads);
}

// queries (B, Q, 3), points (B, N, 3) -> squared distances (B, Q, 3) and indices (B, Q, 3).
EXPORT bool point_ops_three_nn(const float* queries, const float* points, int64_t B, int64_t Q, int64_t N,
                               float* distances, int64_t* indices, int num_threads) {
  return search<3>(queries, points, B, Q, N, distances, indices, num_threads);
}

// Adds the gradient of distances (B, N), which is grad (B, N), to grad_a (B, N, 3) and grad_b (B, M, 3).
EXPORT bool point_ops_nearest_backward(const float* a, const float* b, const int64_t* indices, const float* grad,
                                       int64_t B, int64_t N, int64_t M, float* grad_a, float* grad_b,
                                       int num_threads) {
  return run_tasks<Nothing>(B, double(B) * N, num_threads, [=](int64_t cloud, Nothing&) {
    for (int64_t i = cloud * N; i < (cloud + 1) * N; i++) {
      const int64_t j = cloud * M + indices[i];
      for (int axis = 0; axis < 3; axis++) {
        const float part = 2 * grad[i] * (a[3 * i + axis] - b[3 * j + axis]);
        grad_a[3 * i + axis] += part;
        grad_b[3 * j + axis] -= part;
      }
    }
  });
}
