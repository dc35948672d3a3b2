// The nearest point of each point of a small cloud, and the gradient of the distances to them.
#include <algorithm>
#include <limits>

#include "csrc/arguments.h"
#include "csrc/lanes.h"

namespace point_ops {
namespace {

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

// Whether all of them are indices of one of M points.
bool are_inside(const int64_t* indices, int64_t count, int64_t M) {
  bool is_inside = true;
  for (int64_t i = 0; i < count; i++) is_inside &= uint64_t(indices[i]) < uint64_t(M);
  return is_inside;
}

}  // namespace
}  // namespace point_ops

using namespace point_ops;

// a (B, N, 3), b (B, M, 3) -> squared distance (B, N) and index (B, N) of the nearest in b.
EXPORT int point_ops_nearest(const float* a, const float* b, int64_t B, int64_t N, int64_t M, float* distances,
                             int64_t* indices, int num_threads) {
  if (!are_sizes(B, N, M) || M > MAX_POINTS || num_threads < 1) return BAD_ARGUMENT;
  if (B == 0 || N == 0) return DONE;
  if (M == 0 || !are_given(a, b, distances, indices)) return BAD_ARGUMENT;
  return guarded([=] { return search_clouds<1>(a, b, B, N, M, distances, indices, num_threads, nearest_one); });
}

// Adds the gradient of distances (B, N), which is grad (B, N), to grad_a (B, N, 3) and grad_b (B, M, 3).
EXPORT int point_ops_nearest_backward(const float* a, const float* b, const int64_t* indices, const float* grad,
                                      int64_t B, int64_t N, int64_t M, float* grad_a, float* grad_b,
                                      int num_threads) {
  if (!are_sizes(B, N, M) || M > MAX_POINTS || num_threads < 1) return BAD_ARGUMENT;
  if (B == 0 || N == 0) return DONE;
  if (!are_given(a, b, indices, grad, grad_a, grad_b) || !are_inside(indices, B * N, M)) return BAD_ARGUMENT;
  return guarded([=] {
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
  });
}
