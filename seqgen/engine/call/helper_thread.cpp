#include "call/helper_thread.hpp"

#include <system_error>

#include "program/failure.hpp"

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <unistd.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace seqgen {
namespace {

constexpr int kLooks = 1 << 13;  // a quarter of a millisecond or more, by processor

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

}  // namespace

#if defined(__linux__)

unsigned granted_cores() {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? static_cast<unsigned>(CPU_COUNT(&set))
                                                       : std::thread::hardware_concurrency();
}

struct HelperThread::Semaphore {
    sem_t value;
    Semaphore() { sem_init(&value, 0, 0); }
    ~Semaphore() { sem_destroy(&value); }
    void post() { sem_post(&value); }
    void wait() {
        while (sem_wait(&value) != 0) {
        }
    }
};

HelperThread::HelperThread() : wake_(std::make_unique<Semaphore>()), process_(getpid()) {
    // The host's signals are for the host's threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
        helper_ = std::thread([this] { help(); });
    } catch (const std::system_error&) {
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        throw Failure(SEQGEN_MEMORY, "the system refuses another thread; load the model with one");
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

HelperThread::~HelperThread() {
    if (getpid() != process_) {  // a fork has no helper, and nobody to wait for
        helper_.detach();
        static_cast<void>(wake_.release());
        return;
    }
    stopping_.store(true, std::memory_order_release);
    wake_->post();
    helper_.join();
}

#else

unsigned granted_cores() { return std::thread::hardware_concurrency(); }

struct HelperThread::Semaphore {
    void post() {}
    void wait() {}
};

HelperThread::HelperThread() {
    throw Failure(SEQGEN_UNSUPPORTED, "a second thread is for Linux only; load the model with one");
}
HelperThread::~HelperThread() = default;

#endif

void HelperThread::summon() {
    if (asleep_.load(std::memory_order_relaxed) && asleep_.exchange(false, std::memory_order_acq_rel)) wake_->post();
}

// Whether a job is now the caller's to do.
bool HelperThread::take(std::uint64_t job) {
    std::uint64_t before = job - 1;
    return taken_.compare_exchange_strong(before, job, std::memory_order_acq_rel);
}

void HelperThread::give(Work work, void* context) {
    work_ = work;
    context_ = context;
    given_.fetch_add(2, std::memory_order_release);
}

void HelperThread::collect(int job) {
    const std::uint64_t number = given_.load(std::memory_order_relaxed) - 1 + static_cast<std::uint64_t>(job);
    if (take(number)) return work_(context_, job);
    for (int looks = 0; done_.load(std::memory_order_acquire) < number; ++looks) {
        looks < kLooks ? pause() : std::this_thread::yield();
    }
}

void HelperThread::help() {
    int looks = 0;
    while (!stopping_.load(std::memory_order_acquire)) {
        const std::uint64_t next = taken_.load(std::memory_order_acquire) + 1;
        if (next <= given_.load(std::memory_order_acquire)) {
            // Only who has taken a job may look at it: until it is done the caller gives out no others.
            if (take(next)) {
                work_(context_, next % 2 == 1 ? 0 : 1);
                done_.store(next, std::memory_order_release);
            }
            looks = 0;
        } else if (++looks < kLooks) {
            pause();
        } else {
            looks = 0;
            asleep_.store(true, std::memory_order_release);
            wake_->wait();
        }
    }
}

}  // namespace seqgen
