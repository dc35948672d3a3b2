// Centres by farthest point sampling, then the neighbors of each and their places around it.
#include <algorithm>
#include <vector>

#include "csrc/arguments.h"
#include "csrc/parallel.h"
#include "fps/fps.h"
#include "knn/knn.h"

using namespace point_ops;

// points (B, N, 3) -> centers (B, G, 3), patches (B, G, K, 3) minus their centres, indices (B, G, K).
EXPORT int point_ops_patchify(const float* points, int64_t B, int64_t N, int64_t G, int64_t K, float* centers,
                              float* patches, int64_t* indices, int num_threads) {
  if (!are_sizes(B, N, G, K) || N > MAX_POINTS || G > N || K > N || num_threads < 1) return BAD_ARGUMENT;
  if (B == 0 || G == 0 || K == 0) return DONE;
  if (!are_given(points, centers, patches, indices)) return BAD_ARGUMENT;
  return guarded([=] {
    std::vector<Cloud> clouds(B);
    const double cost = double(B) * N * G;
    const bool is_sampled = run_tasks<SamplingScratch>(B, cost, num_threads, [&](int64_t b, SamplingScratch& scratch) {
      const float* own = points + 3 * b * N;
      clouds[b].read(own, int(N));
      std::vector<int64_t> picked(G);
      sample_farthest(clouds[b], own, int(G), picked.data(), scratch);
      for (int64_t g = 0; g < G; g++) std::copy_n(own + 3 * picked[g], 3, centers + 3 * (b * G + g));
    });
    const int64_t part = queries_a_task(B, G, num_threads), num_parts = parts_of(G, part);
    return is_sampled && run_tasks<SearchScratch>(B * num_parts, cost, num_threads, [&](int64_t task, SearchScratch& scratch) {
      const int64_t b = task / num_parts, first = task % num_parts * part;
      for (int64_t g = b * G + first; g < b * G + std::min(G, first + part); g++) {
        const float* center = centers + 3 * g;
        find_neighbors(clouds[b], center, int(K), indices + g * K, scratch);
        for (int64_t j = g * K; j < (g + 1) * K; j++) {
          const float* point = points + 3 * (b * N + indices[j]);
          for (int axis = 0; axis < 3; axis++) patches[3 * j + axis] = point[axis] - center[axis];
        }
      }
    });
  });
}
