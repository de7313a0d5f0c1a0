#include "kernels/functions.hpp"

#include <cmath>
#include <cstring>

namespace seqgen {
namespace {

constexpr double kLn2High = 0x1.62e42fee00000p-1, kLn2Low = 0x1.a39ef35793c76p-33;  // the first times 1024 is exact
constexpr double kLog2E = 0x1.71547652b82fep+0;
// Series of e^x and of artanh(x)/x in x^2, the highest power first.
constexpr double kExponential[] = {
    1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
    1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       1.0 / 2,      1.0,         1.0};
constexpr double kArtanh[] = {1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11,
                              1.0 / 9,  1.0 / 7,  1.0 / 5,  1.0 / 3,  1.0};

double with_bits(std::uint64_t bits) {
    double made;
    std::memcpy(&made, &bits, sizeof made);
    return made;
}

template <std::size_t N>
double polynomial(const double (&coefficients)[N], double x) {
    double sum = coefficients[0];
    for (std::size_t i = 1; i < N; ++i) sum = sum * x + coefficients[i];
    return sum;
}

}  // namespace

double exponential(double x) {
    x = x > -700.0 ? (x < 700.0 ? x : 700.0) : -700.0;
    constexpr double kShift = 0x1.8p52;  // adding it rounds to a whole number
    const double whole = (x * kLog2E + kShift) - kShift;
    const double rest = (x - whole * kLn2High) - whole * kLn2Low;  // at most ln 2 / 2
    return polynomial(kExponential, rest) *
           with_bits(static_cast<std::uint64_t>(static_cast<std::int64_t>(whole) + 1023) << 52);
}

double gelu(double x) {
    constexpr double kRootHalf = 0x1.6a09e667f3bcdp-1, kP = 0.3275911;
    constexpr double kTail[] = {1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592, 0.0};
    const double z = (x < 0 ? -x : x) * kRootHalf, t = 1.0 / (1.0 + kP * z);
    const double outside = 0.5 * polynomial(kTail, t) * exponential(-(z * z));  // of |x|: 1 - Φ
    return x * (x < 0 ? outside : 1.0 - outside);
}

double logarithm(double x) {
    std::uint64_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    // x = 2^whole m with m in [1/√2, √2), and ln m = 2 artanh s with |s| <= 0.172.
    constexpr std::uint64_t kRootHalf = 0x3FE6A09E667F3BCDu;
    const std::int64_t whole = static_cast<std::int64_t>(bits - kRootHalf) >> 52;
    const double m = with_bits(bits - (static_cast<std::uint64_t>(whole) << 52));
    const double s = (m - 1.0) / (m + 1.0), square = s * s;
    const auto exponent = static_cast<double>(whole);
    return exponent * kLn2High + (2.0 * s * polynomial(kArtanh, square) + exponent * kLn2Low);
}

double normal_quantile(double u) {
    constexpr double kMiddle[2][8] = {
        {2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
         1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.3871328727963666080e0},
        {5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
         5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1.0}};
    constexpr double kTail[2][8] = {
        {7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258e0,
         3.64784832476320460504e0, 5.76949722146069140550e0, 4.63033784615654529590e0, 1.42343711074968357734e0},
        {1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
         6.89767334985100004550e-1, 1.67638483018380384940e0, 2.05319162663775882187e0, 1.0}};
    u = inside(u);
    const double q = u - 0.5;
    if (std::fabs(q) <= 0.425) {
        const double r = 0.180625 - q * q;
        return q * (polynomial(kMiddle[0], r) / polynomial(kMiddle[1], r));
    }
    const double r = std::sqrt(-logarithm(q < 0 ? u : 1 - u)) - 1.6;
    const double made = polynomial(kTail[0], r) / polynomial(kTail[1], r);
    return q < 0 ? -made : made;
}

}  // namespace seqgen
