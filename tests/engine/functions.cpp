// Prints exponential, logarithm, normal_quantile and gelu of doubles read from standard input as hexadecimal numbers.
#include "kernels/functions.hpp"

#include <cstdio>

int main() {
    double x;
    while (std::scanf("%la", &x) == 1) {
        std::printf("%a %a %a %a %a\n", seqgen::exponential(x), static_cast<double>(seqgen::exponential(static_cast<float>(x))),
                    seqgen::logarithm(x > 0 ? x : 1.0), seqgen::normal_quantile(x), seqgen::gelu(x));
    }
    return 0;
}
