#include "bodies/table.hpp"

namespace seqgen {
namespace {

constexpr BodyRow kBodies[] = {
    {"wavernn", "interpolate", false, make_wavernn}, {"lanes", "wavernn", true, make_subscale},
    {"wavenet", "interpolate", false, make_wavenet}, {"parallel-wavenet", "interpolate", false, make_parallel_wavenet},
    {"multiband", "interpolate", false, make_multiband}, {"gru-stack", "nothing", false, make_gru_stack}, {"bytenet", "nothing", false, make_bytenet},
    {"waveform-encoder", "nothing", false, make_waveform_encoder},
};

constexpr EncoderRow kEncoders[] = {{"bytenet-encoder", make_bytenet_encoder}};

constexpr const char* kOneByOne = "a cell that draws sample by sample";
constexpr DistributionRow kDistributions[] = {
    {"categorical", kOneByOne},
    {"logistic-mixture", kOneByOne},
    {"gaussian", kOneByOne},
    {"logistic", "parallel-wavenet"},
};

template <typename Rows>
auto find(const Rows& rows, const std::string& op) {
    for (const auto& row : rows) {
        if (op == row.op) return &row;
    }
    return decltype(&rows[0]){nullptr};
}

template <typename Rows>
std::string names(const Rows& rows) {
    std::string all;
    for (const auto& row : rows) all += std::string(all.empty() ? "" : ", ") + row.op;
    return all;
}

}  // namespace

const BodyRow* find_body(const std::string& op) { return find(kBodies, op); }
const EncoderRow* find_encoder(const std::string& op) { return find(kEncoders, op); }
const DistributionRow* find_distribution(const std::string& op) { return find(kDistributions, op); }
std::string known_bodies() { return names(kBodies) + ", " + names(kEncoders); }
std::string known_distributions() { return names(kDistributions); }

}  // namespace seqgen
