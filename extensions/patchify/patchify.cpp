// What the shared library offers: plain C functions on contiguous arrays. Each returns false when memory ran out.
#include <algorithm>

#include "cloud.h"
#include "fps.h"
#include "neighbours.h"
#include "parallel.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace point_ops {
namespace {

struct Scratch : SamplingScratch, SearchScratch {
  Cloud cloud;
};

int64_t parts_of(int64_t count, int64_t part) { return (count + part - 1) / part; }

// Queries a task: about four tasks a thread, so that threads that begin late still find work.
int64_t queries_a_task(int64_t num_clouds, int64_t num_queries, int num_threads) {
  const int64_t wanted = std::max<int64_t>(1, parts_of(4 * num_threads, std::max<int64_t>(1, num_clouds)));
  return std::max<int64_t>(16, parts_of(num_queries, wanted));
}

}  // namespace
}  // namespace point_ops

using namespace point_ops;

// points (B, N, 3) -> picked (B, G).
EXPORT bool point_ops_fps(const float* points, int64_t B, int64_t N, int64_t G, int64_t* picked, int num_threads) {
  return run_tasks<Scratch>(B, double(B) * N * G, num_threads, [=](int64_t b, Scratch& scratch) {
    scratch.cloud.read(points + 3 * b * N, int(N));
    sample_farthest(scratch.cloud, points + 3 * b * N, int(G), picked + b * G, scratch);
  });
}

// points (B, N, 3), queries (B, Q, 3) -> found (B, Q, k).
EXPORT bool point_ops_knn(const float* points, const float* queries, int64_t B, int64_t N, int64_t Q, int64_t k,
                          int64_t* found, int num_threads) {
  std::vector<Cloud> clouds(B);
  const double cost = double(B) * N * Q;
  const int64_t part = queries_a_task(B, Q, num_threads), num_parts = parts_of(Q, part);
  const bool is_read = run_tasks<Scratch>(B, 0.1 * cost, num_threads, [&](int64_t b, Scratch&) {
    clouds[b].read(points + 3 * b * N, int(N));
  });
  return is_read && run_tasks<Scratch>(B * num_parts, cost, num_threads, [&](int64_t task, Scratch& scratch) {
    const int64_t b = task / num_parts, first = task % num_parts * part;
    for (int64_t q = first; q < std::min(Q, first + part); q++) {
      find_neighbours(clouds[b], queries + 3 * (b * Q + q), int(k), found + (b * Q + q) * k, scratch);
    }
  });
}

// points (B, N, 3) -> centers (B, G, 3), patches (B, G, K, 3) minus their centres, indices (B, G, K).
EXPORT bool point_ops_patchify(const float* points, int64_t B, int64_t N, int64_t G, int64_t K, float* centers,
                               float* patches, int64_t* indices, int num_threads) {
  std::vector<Cloud> clouds(B);
  const double cost = double(B) * N * G;
  bool is_well = run_tasks<Scratch>(B, cost, num_threads, [&](int64_t b, Scratch& scratch) {
    const float* own = points + 3 * b * N;
    clouds[b].read(own, int(N));
    int64_t* picked = indices + b * G * K;  // its first G places, until the neighbours are written
    sample_farthest(clouds[b], own, int(G), picked, scratch);
    for (int64_t g = 0; g < G; g++) std::copy_n(own + 3 * picked[g], 3, centers + 3 * (b * G + g));
  });
  const int64_t part = queries_a_task(B, G, num_threads), num_parts = parts_of(G, part);
  return is_well && run_tasks<Scratch>(B * num_parts, cost, num_threads, [&](int64_t task, Scratch& scratch) {
    const int64_t b = task / num_parts, first = task % num_parts * part;
    for (int64_t g = b * G + first; g < b * G + std::min(G, first + part); g++) {
      const float* center = centers + 3 * g;
      find_neighbours(clouds[b], center, int(K), indices + g * K, scratch);
      for (int64_t j = g * K; j < (g + 1) * K; j++) {
        const float* point = points + 3 * (b * N + indices[j]);
        for (int axis = 0; axis < 3; axis++) patches[3 * j + axis] = point[axis] - center[axis];
      }
    }
  });
}
