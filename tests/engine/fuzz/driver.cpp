// Mutates inputs without coverage, where libFuzzer is not to be had and for a short run that is the same every time.
//
//     driver CORPUS [RUNS [SEED [SECONDS]]]
//
// Every input of the corpus, then RUNS changed ones, or as many as SECONDS allow. Before each run the input is written
// to $SEQGEN_FUZZ_LAST, where that is set, so that a crash leaves what caused it.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Bytes = std::vector<std::uint8_t>;
using Random = std::mt19937_64;

const char* const kNumbers[] = {"0",     "-1",         "1",          "2",      "3",     "16",   "255",  "256",
                                "65535", "65536",      "2147483647", "1e300",  "-1e38", "0.5",  "1e999", "9007199254740993",
                                "[]",    "4294967296", "\"\"",       "null",   "{}",    "true", "[1]",  "1e-310"};

std::size_t below(Random& random, std::size_t count) { return static_cast<std::size_t>(random() % count); }

// The number, if any, at or after `at` becomes another one.
void renumber(Bytes& input, std::size_t at, Random& random) {
    const auto digit = [](std::uint8_t c) { return c >= '0' && c <= '9'; };
    const auto first = std::find_if(input.begin() + static_cast<std::ptrdiff_t>(at), input.end(), digit);
    const auto last = std::find_if_not(first, input.end(), digit);
    const std::string made = kNumbers[below(random, std::size(kNumbers))];
    const auto place = input.erase(first, last);
    input.insert(place, made.begin(), made.end());
}

// One change: of a byte or a bit, of a number, a piece left out, repeated or taken from another input.
void change(Bytes& input, const Bytes& other, Random& random) {
    // Text stands at the beginning: half of all changes fall there.
    const std::size_t reach = random() % 2 == 0 ? std::min<std::size_t>(input.size(), 3000) : input.size();
    const std::size_t at = below(random, reach), length = 1 + below(random, std::size_t{1} << below(random, 8));
    const auto here = input.begin() + static_cast<std::ptrdiff_t>(at);
    const auto end = input.begin() + static_cast<std::ptrdiff_t>(std::min(input.size(), at + length));
    switch (below(random, 6)) {
        case 0:
            *here = static_cast<std::uint8_t>(random());
            break;
        case 1:
            *here = static_cast<std::uint8_t>(*here ^ (1u << below(random, 8)));
            break;
        case 2:
            renumber(input, at, random);
            break;
        case 3:
            input.erase(here, end);
            break;
        case 4: {
            const Bytes piece(here, end);
            input.insert(input.begin() + static_cast<std::ptrdiff_t>(below(random, reach)), piece.begin(), piece.end());
            break;
        }
        default:
            for (auto to = here; to != end; ++to) *to = other[static_cast<std::size_t>(to - input.begin()) % other.size()];
    }
    if (input.empty()) input.push_back(0);
}

void run(const Bytes& input) {
    if (const char* place = std::getenv("SEQGEN_FUZZ_LAST")) {
        std::ofstream(place, std::ios::binary)
            .write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input.size()));
    }
    LLVMFuzzerTestOneInput(input.data(), input.size());
}

std::vector<Bytes> read(const char* folder) {
    std::vector<std::filesystem::path> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path());
    std::sort(names.begin(), names.end());
    std::vector<Bytes> made;
    for (const auto& name : names) {
        std::ifstream file(name, std::ios::binary);
        made.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
        if (made.back().empty()) made.pop_back();
    }
    return made;
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<Bytes> corpus = argc > 1 ? read(argv[1]) : std::vector<Bytes>();
    if (corpus.empty()) return std::fputs("driver: give a folder with inputs\n", stderr), 2;
    const auto number = [&](int index) { return argc > index ? std::strtoull(argv[index], nullptr, 10) : 0; };
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(number(4));
    Random random(number(3));
    for (const Bytes& input : corpus) run(input);
    unsigned long long runs = 0;
    for (; runs < number(2) || std::chrono::steady_clock::now() < until; ++runs) {
        Bytes input = corpus[below(random, corpus.size())];
        const Bytes& other = corpus[below(random, corpus.size())];
        for (std::size_t left = 1 + below(random, 4); left > 0; --left) change(input, other, random);
        run(input);
    }
    std::printf("driver: %zu inputs and %llu changed ones\n", corpus.size(), runs);
    return 0;
}
