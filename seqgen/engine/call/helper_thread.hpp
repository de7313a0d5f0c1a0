// Helper thread of a model: it works for one call at a time, and does some of its work ahead.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

namespace seqgen {

// Cores that this thread may use.
unsigned granted_cores();

// The helper of a model. A call that finds it free works with it, any other call alone: the results are the same.
//
// Nothing waits for a helper that does not come: when the caller needs the result of a job that nobody has taken, it
// does the job itself. The helper looks for work without sleeping for as long as it takes to run the conditioning
// network, then sleeps until `summon`. All of it is atomic numbers and a semaphore, whose post neither blocks nor
// locks.
class HelperThread {
   public:
    // Raises Failure(SEQGEN_UNSUPPORTED) where there are no semaphores, Failure(SEQGEN_MEMORY) for want of a thread.
    HelperThread();
    ~HelperThread();
    HelperThread(const HelperThread&) = delete;
    HelperThread& operator=(const HelperThread&) = delete;

    bool enter() { return !engaged_.exchange(true, std::memory_order_acquire); }
    void leave() { engaged_.store(false, std::memory_order_release); }

    // Wakes the helper where it sleeps.
    void summon();

    // Gives out the jobs 0 and 1, `work(context, job)`. Both must be collected before the next ones are given out.
    using Work = void (*)(void* context, int job);
    void give(Work work, void* context);

    // Job 0, then job 1, is done when this returns.
    void collect(int job);

   private:
    struct Semaphore;

    void help();
    bool take(std::uint64_t job);

    std::atomic<bool> engaged_{false}, asleep_{false}, stopping_{false};
    // Jobs are numbered from 1 on, two for each giving.
    alignas(64) std::atomic<std::uint64_t> given_{0};
    Work work_ = nullptr;  // of the newest jobs: written before they are given out
    void* context_ = nullptr;
    alignas(64) std::atomic<std::uint64_t> taken_{
        0};                                           // the newest job that somebody has taken; they are taken in order
    alignas(64) std::atomic<std::uint64_t> done_{0};  // the newest job that the helper has done
    std::unique_ptr<Semaphore> wake_;
    long process_ = 0;
    std::thread helper_;
};

// Lease of a model's helper for one call: of the helper, where it is free, or of nobody.
class HelperLease {
   public:
    explicit HelperLease(HelperThread* helper) : helper_(helper != nullptr && helper->enter() ? helper : nullptr) {}
    ~HelperLease() {
        if (helper_ != nullptr) helper_->leave();
    }
    HelperLease(const HelperLease&) = delete;
    HelperLease& operator=(const HelperLease&) = delete;
    HelperThread* operator->() const { return helper_; }
    explicit operator bool() const { return helper_ != nullptr; }

   private:
    HelperThread* helper_;
};

}  // namespace seqgen
