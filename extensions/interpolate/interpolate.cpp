// The three nearest points of each query.
#include <algorithm>
#include <limits>

#include "csrc/arguments.h"
#include "csrc/lanes.h"

namespace point_ops {
namespace {

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

}  // namespace
}  // namespace point_ops

using namespace point_ops;

// queries (B, Q, 3), points (B, N, 3) -> squared distances (B, Q, 3) and indices (B, Q, 3).
EXPORT int point_ops_three_nn(const float* queries, const float* points, int64_t B, int64_t Q, int64_t N,
                              float* distances, int64_t* indices, int num_threads) {
  if (!are_sizes(B, Q, N) || N < 3 || N > MAX_POINTS || num_threads < 1) return BAD_ARGUMENT;
  if (B == 0 || Q == 0) return DONE;
  if (!are_given(queries, points, distances, indices)) return BAD_ARGUMENT;
  return guarded([=] {
    return search_clouds<3>(queries, points, B, Q, N, distances, indices, num_threads, nearest_three);
  });
}
