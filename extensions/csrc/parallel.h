// Tasks spread over a pool of threads, in which the caller works too and never waits for a thread that has not begun.
//
// OpenMP's parallel region ends when every thread has passed through it. On a busy machine a thread is given a core
// milliseconds after it is asked for, which is many times longer than most calls here take in all.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace point_ops {

// Calls work(context) in this thread and in up to num_threads - 1 others, and returns when all that began are done.
void run_in_threads(int num_threads, void (*work)(void*), void* context);

// The same, in the threads of torch's matrix products. Right after one of those its threads are awake and turn on their
// cores for some milliseconds, waiting for the next: a thread of the pool would have to wait for a core meanwhile.
void run_in_products_threads(int num_threads, void (*work)(void*), void* context);

struct Nothing {};  // the scratch of tasks that need none

inline int64_t parts_of(int64_t count, int64_t part) { return (count + part - 1) / part; }

// Queries a task: about four tasks a thread, so that threads that begin late still find work.
inline int64_t queries_a_task(int64_t num_clouds, int64_t num_queries, int num_threads) {
  const int64_t wanted = std::max<int64_t>(1, parts_of(4 * num_threads, std::max<int64_t>(1, num_clouds)));
  return std::max<int64_t>(16, parts_of(num_queries, wanted));
}

constexpr double WORTH_A_THREAD = 1e5;  // operations, about 20 microseconds: waking a thread takes about 10

// Calls work(task, scratch) for each task, with one Scratch a thread; `cost` is the number of distances formed in all.
// Returns false when memory ran out.
template <class Scratch, decltype(run_in_threads) run = run_in_threads, class Work>
bool run_tasks(int64_t num_tasks, double cost, int num_threads, Work work) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> is_well{true};
  auto worker = [&] {
    try {
      Scratch scratch;
      for (int64_t task; is_well && (task = next.fetch_add(1)) < num_tasks;) work(task, scratch);
    } catch (...) {
      is_well = false;
    }
  };
  if (num_threads > num_tasks) num_threads = int(num_tasks);
  if (num_threads > 1 + cost / WORTH_A_THREAD) num_threads = 1 + int(cost / WORTH_A_THREAD);
  run(num_threads, [](void* context) { (*static_cast<decltype(worker)*>(context))(); }, &worker);
  return is_well;
}

}  // namespace point_ops
