#pragma once

#include <cstdint>
#include <vector>

#include "csrc/cloud.h"

namespace point_ops {

struct SamplingScratch {
  std::vector<float> nearest;   // (places) squared distance to the nearest picked point
  std::vector<float> tile_max;  // (boxes) largest of a tile; below zero in the filling
};

// Writes num_samples indices, the first 0. points: (size, 3), what the cloud was read from.
void sample_farthest(const Cloud& cloud, const float* points, int num_samples, int64_t* picked, SamplingScratch& scratch);

}  // namespace point_ops
