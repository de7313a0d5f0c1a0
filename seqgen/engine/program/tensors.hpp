// safetensors files: named arrays, checked against the bytes that are there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace seqgen {

// A file's bytes, read-only: mapped, so that what is not looked at is not loaded.
class File {
   public:
    // Raises Failure(SEQGEN_IO) where it cannot be read, or has more than `most` bytes.
    File(const std::string& path, std::size_t most);
    ~File();
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    const char* data() const { return data_; }
    std::size_t size() const { return size_; }

   private:
    const char* data_ = nullptr;
    std::size_t size_ = 0;
    std::vector<char> copy_;
    bool mapped_ = false;
};

// One array of a safetensors file; `data` points into the file and may be unaligned.
struct Tensor {
    std::string kind;  // "F32", "F64" …
    std::vector<std::int64_t> shape;
    const char* data = nullptr;
    std::size_t elements = 0;
};

// All arrays of one or more files.
class Tensors {
   public:
    // Raises Failure(SEQGEN_FORMAT) for a header, shape or extent that does not fit the file.
    void read(const std::string& path);

    // An array of exactly this shape, -1 standing for any size of at least 1; every value finite. `doubles` are stored
    // as float64; `floats` as float32, bfloat16, or, a matrix, in 8 bits: value = q * peak / 127 for q in -127 .. 127,
    // where the float32 array `name`.peak has one number a row. Such a matrix is whole, int8 [rows, columns], and may
    // then be of several side by side, with a peak for each part of a row; or it has only its blocks of 4 x 4 that are
    // not zero, int8 [blocks, 16], strip of rows by strip: then `name`.shape is its int32 [2] shape, `name`.counts
    // uint16 [strips] its blocks a strip and `name`.columns uint16 [blocks] each one's column / 4. Raises
    // Failure(SEQGEN_FORMAT) naming the array otherwise.
    std::vector<float> floats(const std::string& name, std::vector<std::int64_t>& shape) const;
    std::vector<double> doubles(const std::string& name, std::vector<std::int64_t>& shape) const;

    std::uint64_t signature() const { return signature_; }

   private:
    // What the ops may take in all, in units of the files' bytes: a tensor may serve several ops, but a short program
    // may not multiply a large one without end.
    static constexpr std::size_t kMostUses = 16;

    // A matrix of fewer blocks than one in so many is stored whole: a short file may not become a large matrix.
    static constexpr std::size_t kLeastDense = 256;

    std::vector<float> rounded(const std::string& name, std::vector<std::int64_t>& shape) const;
    std::vector<float> blocks(const std::string& name, const std::vector<std::int64_t>& shape,
                              const std::vector<float>& peaks) const;
    const Tensor& find(const std::string& name, std::vector<std::int64_t>& shape, const char* kind) const;

    std::vector<std::unique_ptr<File>> files_;
    std::map<std::string, Tensor> tensors_;
    std::uint64_t signature_ = 0;
    std::size_t held_ = 0;           // bytes of all files
    mutable std::size_t taken_ = 0;  // bytes of all arrays that were asked for so far
};

// 64-bit FNV-1a, continued from `seed`: tells one program's states from another's.
std::uint64_t fingerprint(const char* data, std::size_t size, std::uint64_t seed);

}  // namespace seqgen
