// Vectors of floats by the compiler's own vector type, as wide as the machine's registers: no intrinsics but one.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace point_ops {

#if defined(__AVX512DQ__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float Floats __attribute__((vector_size(LANES * 4)));
typedef int32_t Ints __attribute__((vector_size(LANES * 4)));  // a comparison gives -1 in the lanes where it holds

inline Floats load(const float* from) {
  Floats value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

inline void store(float* to, Floats value) { std::memcpy(to, &value, sizeof value); }

inline Floats splat(float value) { return value - Floats{}; }

inline Ints lane_numbers() {
  Ints lanes{};
  for (int lane = 0; lane < LANES; lane++) lanes[lane] = lane;
  return lanes;
}

// With a NaN on either side these give b: the padding of a cloud is NaN and never wins.
inline Floats smaller(Floats a, Floats b) { return a < b ? a : b; }
inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }

// The halves against each other until one lane is left.
template <class Better>
inline float fold(Floats values, Better better) {
  float rest[LANES];
  store(rest, values);
  for (int half = LANES / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; lane++) rest[lane] = better(rest[lane + half], rest[lane]) ? rest[lane + half] : rest[lane];
  }
  return rest[0];
}

inline float smallest(Floats values) {
  return fold(values, [](float a, float b) { return a < b; });
}

inline float largest(Floats values) {
  return fold(values, [](float a, float b) { return a > b; });
}

// Bit i is lane i of a comparison.
inline uint32_t bits(Ints comparison) {
#if defined(__AVX512DQ__)
  return _mm512_movepi32_mask((__m512i)comparison);
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)comparison);
#elif defined(__SSE2__)
  return _mm_movemask_ps((__m128)comparison);
#else
  uint32_t mask = 0;
  for (int lane = 0; lane < LANES; lane++) mask |= uint32_t(comparison[lane] & 1) << lane;
  return mask;
#endif
}

inline int lowest_bit(uint64_t mask) { return __builtin_ctzll(mask); }

// The order of these operations, without contraction to fused multiply-adds, is the one of the plain torch definition.
inline Floats squared(Floats dx, Floats dy, Floats dz) { return (dx * dx + dy * dy) + dz * dz; }

}  // namespace point_ops
