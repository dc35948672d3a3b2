// A cloud laid out for vectors: coordinates in three planes, cut into tiles; large clouds sorted so that tiles are compact.
#pragma once

#include <cstdint>
#include <vector>

#include "csrc/simd.h"

namespace point_ops {

constexpr int TILE = 64;             // points a tile; a multiple of LANES
constexpr int SORTED_FROM = 3072;    // smaller clouds are searched whole: sorting costs more than it saves
static_assert(TILE % (4 * LANES) == 0 && TILE == 64, "a tile is one word of comparison bits and whole vectors");

struct Cloud {
  int size = 0;                // points
  int num_tiles = 0;           // the last one is filled up with NaN
  bool is_sorted = false;      // along a space-filling curve; then the members below are filled in
  std::vector<float> x, y, z;  // (num_tiles * TILE)
  std::vector<int32_t> index;  // place -> index in the caller's array
  int num_boxes = 0;           // num_tiles, rounded up to whole vectors
  std::vector<float> low[3], high[3];  // (num_boxes) bounds of each tile; the filling is infinitely far away

  // points: (size, 3).
  void read(const float* points, int size);

 private:
  void sort(const float* points);
  void bound();
};

// For LANES tiles from `first`: a bound below the squared distance of the point to each of their points. Rounding is
// monotonic, so the computed bound is never above a computed distance.
inline Floats nearest_possible(const Cloud& cloud, int first, const float* point) {
  Floats gap[3];
  for (int axis = 0; axis < 3; axis++) {
    Floats value = splat(point[axis]);
    gap[axis] = larger(larger(load(&cloud.low[axis][first]) - value, value - load(&cloud.high[axis][first])), Floats{});
  }
  return squared(gap[0], gap[1], gap[2]);
}

// The bound above.
inline Floats farthest_possible(const Cloud& cloud, int first, const float* point) {
  Floats gap[3];
  for (int axis = 0; axis < 3; axis++) {
    Floats value = splat(point[axis]);
    gap[axis] = larger(load(&cloud.high[axis][first]) - value, value - load(&cloud.low[axis][first]));
  }
  return squared(gap[0], gap[1], gap[2]);
}

}  // namespace point_ops
