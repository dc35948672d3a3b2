// Small searches of many queries: queries lie in the lanes, points go past them.
#pragma once

#include <algorithm>

#include "csrc/parallel.h"
#include "csrc/simd.h"

namespace point_ops {

constexpr int BLOCK = 4 * LANES;  // queries a task at least

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

// Calls search(queries, Q, first, points, N, distances, indices) for each group of LANES queries of each cloud; COUNT
// distances and indices are written a query.
template <int COUNT, class Search>
bool search_clouds(const float* queries, const float* points, int64_t B, int64_t Q, int64_t N, float* distances,
                   int64_t* indices, int num_threads, Search search) {
  const int64_t num_parts = parts_of(Q, BLOCK);
  return run_tasks<Nothing>(B * num_parts, double(B) * Q * N, num_threads, [=](int64_t task, Nothing&) {
    const int64_t b = task / num_parts, part = task % num_parts * BLOCK;
    for (int64_t first = part; first < std::min(Q, part + BLOCK); first += LANES) {
      search(queries + 3 * b * Q, Q, first, points + 3 * b * N, int(N), distances + COUNT * b * Q,
             indices + COUNT * b * Q);
    }
  });
}

}  // namespace point_ops
