// Farthest point sampling: index 0 first, then the point farthest from all picked ones, the lowest index of equals.
#include "fps/fps.h"

#include <algorithm>
#include <limits>

#include "csrc/arguments.h"
#include "csrc/parallel.h"

namespace point_ops {
namespace {

constexpr float INFINITE = std::numeric_limits<float>::infinity();

// Takes every point in at every step.
void sample_whole(const Cloud& cloud, const float* points, int num_samples, int64_t* picked, float* nearest) {
  const int num_places = cloud.num_tiles * TILE;
  const Ints lanes = lane_numbers();
  int64_t last = 0;
  for (int step = 1; step < num_samples; step++) {
    const Floats px = splat(points[3 * last]), py = splat(points[3 * last + 1]), pz = splat(points[3 * last + 2]);
    // Two independent chains, even and odd vectors, so that one does not wait for the other.
    Floats most[2] = {splat(-1), splat(-1)};
    Ints where[2] = {};
    for (int place = 0; place < num_places; place += 2 * LANES) {
      for (int half = 0; half < 2; half++) {
        const int i = place + half * LANES;
        Floats distance = squared(load(&cloud.x[i]) - px, load(&cloud.y[i]) - py, load(&cloud.z[i]) - pz);
        Floats least = smaller(distance, load(nearest + i));
        store(nearest + i, least);
        Ints is_more = least > most[half];
        most[half] = is_more ? least : most[half];
        where[half] = is_more ? lanes + i : where[half];
      }
    }
    const float farthest = std::max(largest(most[0]), largest(most[1]));
    int first = std::numeric_limits<int>::max();
    for (int half = 0; half < 2; half++) {
      for (uint32_t equal = bits(most[half] == splat(farthest)); equal; equal &= equal - 1) {
        first = std::min(first, where[half][lowest_bit(equal)]);
      }
    }
    picked[step] = last = first < cloud.size ? first : 0;
  }
}

void update_tile(const Cloud& cloud, int tile, const float* point, float* nearest, float& tile_max) {
  const Floats px = splat(point[0]), py = splat(point[1]), pz = splat(point[2]);
  Floats most = splat(-1);
  for (int i = tile * TILE; i < (tile + 1) * TILE; i += LANES) {
    Floats distance = squared(load(&cloud.x[i]) - px, load(&cloud.y[i]) - py, load(&cloud.z[i]) - pz);
    Floats least = smaller(distance, load(nearest + i));
    store(nearest + i, least);
    most = larger(least, most);
  }
  tile_max = largest(most);
}

int lowest_index_of(const Cloud& cloud, int tile, float value, const float* nearest, int lowest) {
  for (int i = tile * TILE; i < (tile + 1) * TILE; i += LANES) {
    for (uint32_t equal = bits(load(nearest + i) == splat(value)); equal; equal &= equal - 1) {
      lowest = std::min(lowest, cloud.index[i + lowest_bit(equal)]);
    }
  }
  return lowest;
}

// Leaves out the tiles in which no point can come nearer: their box is too far from the point picked last.
void sample_by_tiles(const Cloud& cloud, const float* points, int num_samples, int64_t* picked, float* nearest,
                     float* tile_max) {
  int64_t last = 0;
  for (int step = 1; step < num_samples; step++) {
    const float* point = points + 3 * last;
    Floats most = splat(-1);
    for (int first = 0; first < cloud.num_boxes; first += LANES) {
      uint32_t touched = bits(nearest_possible(cloud, first, point) < load(tile_max + first));
      for (; touched; touched &= touched - 1) {
        const int tile = first + lowest_bit(touched);
        update_tile(cloud, tile, point, nearest, tile_max[tile]);
      }
    }
    for (int first = 0; first < cloud.num_boxes; first += LANES) most = larger(load(tile_max + first), most);
    const float farthest = largest(most);
    int lowest = std::numeric_limits<int>::max();
    for (int first = 0; first < cloud.num_boxes; first += LANES) {
      for (uint32_t equal = bits(load(tile_max + first) == splat(farthest)); equal; equal &= equal - 1) {
        lowest = lowest_index_of(cloud, first + lowest_bit(equal), farthest, nearest, lowest);
      }
    }
    picked[step] = last = lowest < cloud.size ? lowest : 0;
  }
}

}  // namespace

void sample_farthest(const Cloud& cloud, const float* points, int num_samples, int64_t* picked,
                     SamplingScratch& scratch) {
  picked[0] = 0;
  scratch.nearest.assign(size_t(cloud.num_tiles) * TILE, INFINITE);
  std::fill(scratch.nearest.begin() + cloud.size, scratch.nearest.end(), -1.0f);
  if (cloud.is_sorted) {
    scratch.tile_max.assign(cloud.num_boxes, INFINITE);
    std::fill(scratch.tile_max.begin() + cloud.num_tiles, scratch.tile_max.end(), -1.0f);
    sample_by_tiles(cloud, points, num_samples, picked, scratch.nearest.data(), scratch.tile_max.data());
  } else {
    sample_whole(cloud, points, num_samples, picked, scratch.nearest.data());
  }
}

}  // namespace point_ops

using namespace point_ops;

namespace {

struct Scratch : SamplingScratch {
  Cloud cloud;
};

}  // namespace

// points (B, N, 3) -> picked (B, G).
EXPORT int point_ops_fps(const float* points, int64_t B, int64_t N, int64_t G, int64_t* picked, int num_threads) {
  if (!are_sizes(B, N, G) || N > MAX_POINTS || G > N || num_threads < 1) return BAD_ARGUMENT;
  if (B == 0 || G == 0) return DONE;
  if (!are_given(points, picked)) return BAD_ARGUMENT;
  return guarded([=] {
    return run_tasks<Scratch>(B, double(B) * N * G, num_threads, [=](int64_t b, Scratch& scratch) {
      scratch.cloud.read(points + 3 * b * N, int(N));
      sample_farthest(scratch.cloud, points + 3 * b * N, int(G), picked + b * G, scratch);
    });
  });
}
