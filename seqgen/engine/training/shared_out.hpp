// Rows shared out among threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

namespace seqgen {

constexpr std::size_t up(std::size_t count, std::size_t to) { return (count + to - 1) / to * to; }

// Rows, `together` of which no two threads share.
struct Pieces {
    std::size_t rows, together;
};

// Calls work(first, last) for each thread's share of the rows; where no thread can be had the caller's own does its work.
template <typename F>
void shared_out(const Pieces& all, std::int32_t wanted, F work) {
    const auto run = [&](std::size_t first, std::size_t last) {
        work(first, last);
        std::atomic_thread_fence(std::memory_order_seq_cst);  // what went past the caches comes before what follows
    };
    const std::size_t pieces = up(all.rows, all.together) / all.together;
    const std::size_t threads = std::min<std::size_t>(static_cast<std::size_t>(wanted), pieces);
    std::vector<std::thread> others;
    others.reserve(threads);
    const auto share = [&](std::size_t thread) { return std::min(all.rows, pieces * thread / threads * all.together); };
    for (std::size_t thread = 1; thread < threads; ++thread) {
        try {
            others.emplace_back(run, share(thread), share(thread + 1));
        } catch (const std::system_error&) {
            run(share(thread), share(thread + 1));
        }
    }
    if (threads > 0) run(0, share(1));
    for (std::thread& other : others) other.join();
}

}  // namespace seqgen
