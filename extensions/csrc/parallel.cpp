#include "csrc/parallel.h"

#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

namespace point_ops {
namespace {

class Pool {
 public:
  const pid_t process = getpid();

  // False, with nothing done, while another caller has the pool.
  bool run(int num_helpers, void (*work)(void*), void* context) {
    std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
    if (!turn) return false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      work_ = work, context_ = context, num_wanted_ = num_helpers;
      while (num_threads_ < num_helpers && add_thread()) num_threads_++;
    }
    num_helpers == 1 ? begin_.notify_one() : begin_.notify_all();
    work(context);
    std::unique_lock<std::mutex> lock(mutex_);
    num_wanted_ = 0;  // nobody else begins
    end_.wait(lock, [this] { return num_working_ == 0; });
    return true;
  }

 private:
  std::mutex turn_, mutex_;
  std::condition_variable begin_, end_;
  void (*work_)(void*) = nullptr;
  void* context_ = nullptr;
  int num_wanted_ = 0, num_working_ = 0, num_threads_ = 0;

  bool add_thread() {
    try {
      std::thread([this] { serve(); }).detach();
      return true;
    } catch (const std::system_error&) {
      return false;  // the caller's own thread is enough
    }
  }

  [[noreturn]] void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      begin_.wait(lock, [this] { return num_wanted_ > 0; });
      num_wanted_--, num_working_++;
      lock.unlock();
      work_(context_);
      lock.lock();
      if (--num_working_ == 0) end_.notify_one();
    }
  }
};

// Never destroyed: threads wait on it until the process ends. A forked process has none of the threads and makes its
// own pool (the old one may be locked for ever).
Pool& pool() {
  static std::atomic<Pool*> current{nullptr};
  Pool* existing = current.load();
  if (existing && existing->process == getpid()) return *existing;
  Pool* fresh = new Pool;
  if (current.compare_exchange_strong(existing, fresh)) return *fresh;
  delete fresh;  // another thread was faster
  return *existing;
}

// libgomp's own entry for a parallel region: work(context) in num_threads threads.
typedef void (*Region)(void (*work)(void*), void* context, unsigned num_threads, unsigned flags);
std::atomic<Region> products_region{nullptr};

}  // namespace

void run_in_threads(int num_threads, void (*work)(void*), void* context) {
  if (num_threads <= 1 || !pool().run(num_threads - 1, work, context)) work(context);
}

void run_in_products_threads(int num_threads, void (*work)(void*), void* context) {
  const Region region = products_region.load();
  if (num_threads > 1 && region) return region(work, context, unsigned(num_threads), 0);
  run_in_threads(num_threads, work, context);
}

}  // namespace point_ops

// The address of GOMP_parallel in the library that torch's matrix products use. Without it the pool's threads do the
// work that would have gone there.
extern "C" __attribute__((visibility("default"))) void point_ops_use_region(void* region) {
  point_ops::products_region = reinterpret_cast<point_ops::Region>(region);
}
